// A Redis of a test's own, and servers and workers on it.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "server/listen_socket.h"
#include "server/redis_job_service.h"
#include "server/redis_worker.h"
#include "unit/server/made_up.h"

namespace intaglio::server::test {

// redis-server on a free port, as a child; what it was told is in its folder's log.
class OwnRedis {
 public:
  explicit OwnRedis(std::vector<std::string> options = {}) : options_(std::move(options)) {
    set_clock(0);
    ::signal(SIGPIPE, SIG_IGN);
    const auto socket = listen_on("127.0.0.1", 0);
    if (!socket) return;
    url.host = "127.0.0.1";
    url.port = socket->port;
    ::close(socket->descriptor);
    start();
  }
  ~OwnRedis() { kill(); }

  static bool is_installed() { return std::system("command -v redis-server >/dev/null") == 0; }

  // Until it answers.
  void start() {
    std::vector<std::string> words{"redis-server",  "--port",       std::to_string(url.port),
                                   "--bind",        "127.0.0.1",    "--dir",
                                   folder.path(),   "--appendonly", "yes",
                                   "--appendfsync", "no",           "--logfile",
                                   "log",           "--save",       ""};
    words.insert(words.end(), options_.begin(), options_.end());
    const std::string shift = folder.path() / "clock";
    const std::string shim =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libshift_clock.so";
    process_ = ::fork();
    if (process_ == 0) {
      ::setenv("INTAGLIO_CLOCK_SHIFT", shift.c_str(), 1);
      ::setenv("LD_PRELOAD", shim.c_str(), 1);
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    const RedisUrl bare{.host = url.host, .port = url.port};
    while (true) {
      const auto connection = RedisConnection::open(url.password.empty() ? bare : url);
      if (connection || connection.error().code != ErrorCode::kIo) return;
      ::usleep(10'000);
    }
  }
  void kill() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

  // Its clock is off by so many seconds from now on.
  void set_clock(int64_t seconds) {
    EXPECT_TRUE(write_file_atomic(folder.path() / "clock", std::to_string(seconds)).has_value());
  }

  TempFolder folder;
  RedisUrl url;

 private:
  std::vector<std::string> options_;
  pid_t process_ = -1;
};

// Any number of servers and workers, as on machines that share a folder. A picture waits at the
// worker's gate where it has one.
class RedisTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!OwnRedis::is_installed()) GTEST_SKIP() << "redis-server is not installed";
    redis = std::make_unique<OwnRedis>();
  }

  struct Worker {
    std::shared_ptr<Studio> studio = std::make_shared<Studio>();
    Gate gate;
    std::unique_ptr<RedisWorker> worker;

    void use_gate() {
      studio->draw = [this](const JobRequest& request, int64_t index,
                            const DrawHooks& hooks) -> Expected<DrawnPicture> {
        if (hooks.progress) hooks.progress({Phase::kDenoise, 1, 2});
        if (hooks.preview) hooks.preview(1, std::make_shared<const std::string>("preview"));
        gate.pass(hooks.cancel);
        if (*hooks.cancel) return make_error(ErrorCode::kCancelled, "cancelled");
        return MadeUpDrawer::picture(request, index);
      };
    }
  };

  std::shared_ptr<RedisClient> client() const {
    auto opened = RedisClient::open(redis->url, 5);
    EXPECT_TRUE(opened.has_value()) << opened.error().message;
    return opened ? *opened : nullptr;
  }
  std::unique_ptr<PictureStore> pictures() const {
    return std::move(PictureStore::open("--results", results.path() / "pictures", "").value());
  }
  std::unique_ptr<RedisJobService> server() const {
    RedisServiceParts parts{.client = client(),
                            .pictures = pictures(),
                            .drawer = std::make_unique<MadeUpDrawer>(std::make_shared<Studio>()),
                            .limits = limits,
                            .retention = retention,
                            .lease = lease};
    return std::make_unique<RedisJobService>(std::move(parts));
  }
  void start(Worker& worker) const {
    WorkerParts parts{.client = client(),
                      .pictures = pictures(),
                      .drawer = std::make_unique<MadeUpDrawer>(worker.studio),
                      .name = RedisWorker::own_name().value(),
                      .lease = lease};
    worker.worker = std::make_unique<RedisWorker>(std::move(parts));
  }
  static std::string submit(JobService& service, const JobRequest& request,
                            const std::string& of = "c") {
    const Accepted<Job> job = service.submit(request, of);
    EXPECT_TRUE(job.has_value()) << job.error().message;
    return job ? job->id : "";
  }
  static Job end_of(JobService& service, const std::string& id) {
    EventLog log;
    const uint64_t listener = service.listen(id, log.listener());
    EXPECT_NE(listener, 0U);
    Job job = log.wait_for_end(id);
    service.unlisten(listener);
    return job;
  }
  static void wait_for_state(JobService& service, const std::string& id, JobState state) {
    EventLog log;
    const uint64_t listener = service.listen(id, log.listener());
    log.wait_for(id, [&](JobState s) { return s == state; });
    service.unlisten(listener);
  }

  std::unique_ptr<OwnRedis> redis;
  TempFolder results;
  JobLimits limits;
  Retention retention;
  std::chrono::milliseconds lease{10'000};
};

}  // namespace intaglio::server::test
