#include "server/redis_client.h"

#include <algorithm>
#include <charconv>
#include <random>
#include <thread>

#include "core/log.h"
#include "server/clock.h"

namespace intaglio::server {
namespace {

constexpr double kFirstDelay = 0.05, kMostDelay = 2;  // seconds between tries to connect
constexpr size_t kMostIdle = 16;
constexpr std::string_view kLoading = "LOADING";
constexpr int kLeastMajor = 6, kLeastMinor = 2;  // XAUTOCLAIM

// The line "NAME:VALUE" of what INFO says; empty: there is none.
std::string info_value(const std::string& info, std::string_view name) {
  const std::string begin = std::string(name) + ":";
  size_t at = info.rfind(begin, 0) == 0 ? 0 : info.find("\n" + begin);
  if (at == std::string::npos) return "";
  at = info.find(':', at) + 1;
  return info.substr(at, info.find_first_of("\r\n", at) - at);
}

bool is_old(const std::string& version) {
  int major = 0, minor = 0;
  const char* const end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  if (error != std::errc()) return true;
  if (dot != end) std::from_chars(dot + 1, end, minor);
  return major < kLeastMajor || (major == kLeastMajor && minor < kLeastMinor);
}

}  // namespace

Expected<std::shared_ptr<RedisClient>> RedisClient::open(const RedisUrl& url, double patience) {
  std::shared_ptr<RedisClient> client(new RedisClient(url));
  const double until = system_clock().steady() + patience;
  for (;;) {
    const Status good = client->check();
    if (good) return client;
    if (good.error().code != ErrorCode::kIo || system_clock().steady() >= until)
      return tl::unexpected<Error>(good.error());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

Status RedisClient::check() {
  INTAGLIO_ASSIGN(const RedisValue info, command({"INFO"}));
  const std::string version = info_value(info.text, "redis_version");
  if (is_old(version))
    return make_error(ErrorCode::kUnsupported, "{}: Redis {} is too old, expected {}.{} or newer",
                      url_.shown(), version, kLeastMajor, kLeastMinor);
  if (info_value(info.text, "loading") == "1")
    return make_error(ErrorCode::kIo, "{}: Redis still reads its file", url_.shown());
  if (info_value(info.text, "redis_mode") == "cluster")
    return make_error(ErrorCode::kUnsupported,
                      "{}: this is a Redis Cluster, expected one Redis (with replicas or without)",
                      url_.shown());
  if (info_value(info.text, "aof_enabled") != "1")
    log(LogLevel::kWarning,
        "{}: it keeps no log of its own (appendonly no): jobs since its last snapshot are lost "
        "when it ends",
        url_.shown());
  if (info_value(info.text, "maxmemory") != "0" &&
      info_value(info.text, "maxmemory_policy") != "noeviction")
    log(LogLevel::kWarning,
        "{}: it forgets keys when its memory is full (maxmemory-policy {}): jobs may be lost; set "
        "noeviction",
        url_.shown(), info_value(info.text, "maxmemory_policy"));
  return {};
}

void RedisClient::failed(const Error& error) {
  const std::lock_guard lock(mutex_);
  outage_ = error.message;
  reached_since_ = 0;
  idle_.clear();
  // Not all at once, where many were cut off at once.
  thread_local std::minstd_rand random{std::random_device{}()};
  const double jitter = std::uniform_real_distribution(0.5, 1.0)(random);
  delay_ = std::clamp(delay_ * 2, kFirstDelay, kMostDelay);
  next_try_ = system_clock().steady() + delay_ * jitter;
}

Expected<std::unique_ptr<RedisConnection>> RedisClient::connect() {
  {
    const std::lock_guard lock(mutex_);
    if (!outage_.empty() && system_clock().steady() < next_try_)
      return make_error(ErrorCode::kIo, "{}", OwnLines{outage_});
  }
  auto connection = RedisConnection::open(url_);
  if (!connection) {
    failed(connection.error());
    return connection;
  }
  const std::lock_guard lock(mutex_);
  outage_.clear();
  delay_ = 0;
  if (reached_since_ == 0) reached_since_ = system_clock().steady();
  return connection;
}

Expected<std::unique_ptr<RedisConnection>> RedisClient::take() {
  {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
      idle_.pop_back();
      if (!connection->stale()) return connection;
    }
  }
  return connect();
}

template <typename Use>
Expected<RedisValue> RedisClient::with_connection(Use&& use) {
  INTAGLIO_ASSIGN(std::unique_ptr<RedisConnection> connection, take());
  Expected<RedisValue> answer = use(*connection);
  const bool loading = !answer && answer.error().message.find(kLoading) != std::string::npos;
  if (connection->broken() || loading) {
    failed(answer.error());
    return answer;
  }
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(connection));
  return answer;
}

Expected<RedisValue> RedisClient::run(std::string_view script, const RedisWords& arguments) {
  return with_connection([&](RedisConnection& c) { return c.run(script, arguments); });
}

Expected<RedisValue> RedisClient::command(const RedisWords& words) {
  return with_connection([&](RedisConnection& c) { return c.command(words); });
}

std::string RedisClient::outage() const {
  const std::lock_guard lock(mutex_);
  return outage_;
}

double RedisClient::reached_for() const {
  const std::lock_guard lock(mutex_);
  return reached_since_ == 0 ? 0 : system_clock().steady() - reached_since_;
}

}  // namespace intaglio::server
