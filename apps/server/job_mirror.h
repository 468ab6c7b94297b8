// What one server has heard of the jobs of a queue that it shares: those that have not ended, and
// the last that did. From it its listeners are told.
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/job_queue.h"
#include "server/job_service.h"
#include "server/redis_jobs.h"
#include "server/service_counters.h"

namespace intaglio::server {

// For any thread. Listeners are called under its mutex, which keeps the order of a job's events.
class JobMirror {
 public:
  static constexpr size_t kMostEnded = 1000;

  // What happened, in any order and as often as it likes: what is no newer than what is known is
  // passed over.
  void hear(const RedisEvent& event);
  // What a job is, from an answer of Redis: the same as hear() of a state.
  void learn(const RedisJob& job);
  // Of one that is not there any more.
  void forget(const std::string& id);

  // `job` with what is known of its progress.
  Job seen(const RedisJob& job) const;
  // It is known and has not ended. One that has may be gone already, by a word still on its way.
  bool is_going_on(const std::string& id) const;
  // `id` empty: all jobs. 0: it knows no such job.
  uint64_t listen(const std::string& id, JobListener listener);
  // Of a job that has ended long ago: tells it and keeps the listener.
  uint64_t listen_to(const RedisJob& job, JobListener listener);
  void unlisten(uint64_t listener);

  // Those that have not ended as far as is known, and those that somebody listens to.
  std::vector<std::string> followed() const;
  ServiceStats stats() const;
  double seconds_per_job() const;

 private:
  struct Listener {
    std::string id;
    JobListener call;
  };
  bool take_in(const RedisJob& job, std::optional<JobState>& before);
  void count(const RedisJob& job, std::optional<JobState> before);
  void set_progress(const RedisEvent& event);
  void requeue(const RedisJob& job);
  void forget_ended();
  uint64_t add(const std::string& id, JobListener listener);
  Job with_position(const RedisJob& job) const;
  void emit(JobEvent::Kind kind, const Job& job,
            const std::shared_ptr<const std::string>& preview = {}) const;
  void emit_positions() const;

  mutable std::mutex mutex_;
  std::map<std::string, RedisJob> jobs_;
  std::deque<std::string> ended_;  // of jobs_, in the order in which they did
  JobQueue queue_;
  std::map<uint64_t, Listener> listeners_;
  uint64_t last_listener_ = 0;
  ServiceCounters counters_;
};

}  // namespace intaglio::server
