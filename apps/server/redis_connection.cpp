#include "server/redis_connection.h"

#include <hiredis/hiredis.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "server/embedded.h"

namespace intaglio::server {
namespace {

constexpr std::string_view kUnknownScript = "NOSCRIPT";

timeval time_of(std::chrono::milliseconds time) {
  return {.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

RedisValue value_of(const redisReply& reply) {
  RedisValue value;
  switch (reply.type) {
    case REDIS_REPLY_INTEGER:
      value.kind = RedisValue::Kind::kInteger;
      value.integer = reply.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
      value.kind = RedisValue::Kind::kText;
      value.text.assign(reply.str, reply.len);
      break;
    case REDIS_REPLY_ARRAY:
      value.kind = RedisValue::Kind::kArray;
      for (size_t i = 0; i < reply.elements; ++i)
        value.items.push_back(value_of(*reply.element[i]));
      break;
    default:
      break;
  }
  return value;
}

std::string script_text(std::string_view name) {
  std::string common, own;
  for (const EmbeddedFile& file : redis_scripts()) {
    if (file.name == "common.lua") common = file.text;
    if (file.name == std::string(name) + ".lua") own = file.text;
  }
  return common + own;
}

}  // namespace

void RedisConnection::Free::operator()(redisContext* context) const { redisFree(context); }

tl::unexpected<Error> RedisConnection::lost() {
  broken_ = true;
  // hiredis has "Resource temporarily unavailable" for a time-out.
  const bool slow = context_->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  const std::string reason = slow ? "it does not answer" : context_->errstr;
  return make_error(ErrorCode::kIo, "{}: {}", url_.shown(), reason);
}

Expected<std::unique_ptr<RedisConnection>> RedisConnection::open(const RedisUrl& url) {
  redisContext* const context =
      redisConnectWithTimeout(url.host.c_str(), url.port, time_of(kConnect));
  if (context == nullptr) return make_error(ErrorCode::kOutOfMemory, "no memory for a connection");
  std::unique_ptr<RedisConnection> connection(new RedisConnection(url, context));
  if (context->err != 0)
    return make_error(ErrorCode::kIo, "{}: cannot connect: {}", url.shown(),
                      std::string(context->errstr));
  redisSetTimeout(context, time_of(kAnswer));
  redisEnableKeepAlive(context);
  INTAGLIO_TRY(connection->log_in());
  return connection;
}

Status RedisConnection::log_in() {
  const auto refused = [&](const Error& error) -> Status {
    if (broken_) return tl::unexpected<Error>(error);
    return make_error(ErrorCode::kInvalidArgument, "{}", OwnLines{error.message});
  };
  if (!url_.password.empty()) {
    RedisWords words{"AUTH", url_.password};
    if (!url_.user.empty()) words.insert(words.begin() + 1, url_.user);
    if (const auto answer = command(words); !answer) return refused(answer.error());
  }
  const auto answer = command({"SELECT", std::to_string(url_.database)});
  // While it reads its file it refuses everything, which passes.
  if (!answer && answer.error().message.find("LOADING") == std::string::npos)
    return refused(answer.error());
  if (!answer) return tl::unexpected<Error>(answer.error());
  return {};
}

Expected<RedisValue> RedisConnection::command(const RedisWords& words) {
  INTAGLIO_TRY(send(words));
  void* raw = nullptr;
  errno = 0;
  if (redisGetReply(context_.get(), &raw) != REDIS_OK) return lost();
  const Reply reply(static_cast<redisReply*>(raw));
  if (reply->type == REDIS_REPLY_ERROR)
    return make_error(ErrorCode::kIo, "{}: {}", url_.shown(), std::string(reply->str, reply->len));
  return value_of(*reply);
}

Status RedisConnection::send(const RedisWords& words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), texts.data(),
                         sizes.data());
  int done = 0;
  errno = 0;
  while (done == 0)
    if (redisBufferWrite(context_.get(), &done) != REDIS_OK) return lost();
  return {};
}

Expected<RedisValue> RedisConnection::run_sha(const std::string& sha, const RedisWords& arguments) {
  RedisWords words{"EVALSHA", sha, "1", std::string(kRedisPrefix)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return command(words);
}

Expected<RedisValue> RedisConnection::run(std::string_view script, const RedisWords& arguments) {
  if (const auto known = shas_.find(script); known != shas_.end()) {
    auto answer = run_sha(known->second, arguments);
    if (answer || answer.error().message.find(kUnknownScript) == std::string::npos) return answer;
  }
  INTAGLIO_ASSIGN(const RedisValue sha, command({"SCRIPT", "LOAD", script_text(script)}));
  shas_[std::string(script)] = sha.text;
  return run_sha(sha.text, arguments);
}

Expected<std::optional<RedisValue>> RedisConnection::next(std::chrono::milliseconds patience) {
  void* raw = nullptr;
  if (redisGetReplyFromReader(context_.get(), &raw) != REDIS_OK) return lost();
  if (raw == nullptr) {
    pollfd ready{.fd = context_->fd, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return std::nullopt;
    errno = 0;
    if (redisBufferRead(context_.get()) != REDIS_OK) return lost();
    if (redisGetReplyFromReader(context_.get(), &raw) != REDIS_OK) return lost();
    if (raw == nullptr) return std::nullopt;
  }
  const Reply reply(static_cast<redisReply*>(raw));
  return value_of(*reply);
}

bool RedisConnection::stale() const {
  pollfd ready{.fd = context_->fd, .events = POLLIN, .revents = 0};
  return broken_ || ::poll(&ready, 1, 0) != 0;
}

}  // namespace intaglio::server
