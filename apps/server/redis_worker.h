// Draws jobs of a queue in Redis, one after the other, until it is stopped.
//
// What it draws is its own for a lease, which it renews while it draws. Should it lose Redis it
// goes on, and stores what it has drawn if Redis comes back before the lease may have ended; else
// it drops it. Whatever it says of a job carries the job's fence, so that one that was claimed by
// another is none of its any more.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "server/drawer.h"
#include "server/job_progress.h"
#include "server/picture_store.h"
#include "server/redis_events.h"
#include "server/redis_jobs.h"

namespace intaglio::server {

struct WorkerParts {
  std::shared_ptr<RedisClient> client = {};
  std::unique_ptr<PictureStore> pictures = {};
  std::unique_ptr<Drawer> drawer = {};
  std::string name = {};  // of no other worker
  std::chrono::milliseconds lease{10'000};
};

class RedisWorker {
 public:
  explicit RedisWorker(WorkerParts parts);
  ~RedisWorker();  // stop(0)

  // "host:4711:a1b2"
  static Expected<std::string> own_name();
  const std::string& name() const { return parts_.name; }
  std::string device() const { return parts_.drawer->device(); }
  // Takes no more jobs. Waits for the one at work for so long, then gives it back.
  void stop(std::chrono::milliseconds patience);

 private:
  using Lock = std::unique_lock<std::mutex>;
  enum class Why { kNone, kClient, kDeadline, kStop, kLost };
  struct Running {
    Running() {}  // clang sees no implicit one before this class is whole
    RedisJob job;
    Why why = Why::kNone;  // of `cancel`
    std::atomic<bool> cancel{false};
    double deadline = 0, leased_until = 0, renew_at = 0;  // steady
    ProgressMeter meter;
  };
  struct Message {
    Job job;
    int64_t fence = 0;
    std::shared_ptr<const std::string> preview;  // none: progress
  };

  // redis_worker.cpp
  void draw_jobs();
  bool draw_next();
  std::optional<JobError> draw_pictures(Lock& lock);
  std::optional<JobError> draw_picture(Lock& lock, const InitPicture* init, int64_t index);
  void report(int64_t index, const PictureProgress& progress);
  void preview(int64_t index, int64_t step, std::shared_ptr<const std::string> png);
  void end_drawn(Lock& lock, const std::optional<JobError>& error);
  // Until Redis answers, or the lease may have ended: nullopt.
  template <typename Call>
  std::optional<bool> insist(Lock& lock, Call&& call);
  void interrupt(Why why);

  // redis_worker_threads.cpp
  void keep();
  void renew(Lock& lock);
  void look_after(Lock& lock);
  void announce() const;
  void send();
  void hear(const RedisEvent& event);
  double lease_seconds() const { return std::chrono::duration<double>(parts_.lease).count(); }

  WorkerParts parts_;
  RedisJobs jobs_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Running> running_;
  std::string load_;    // DrawKey::load of what is there
  uint64_t wakes_ = 0;  // times that something may have come to wait
  std::deque<Message> messages_;
  bool sending_now_ = false;  // one that has left messages_
  bool stopping_ = false, ended_ = false;

  std::unique_ptr<RedisEvents> events_;
  std::thread drawing_, keeping_, sending_;
};

}  // namespace intaglio::server
