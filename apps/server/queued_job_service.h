// The JobService: a queue, a store and a thread that draws.
//
// Locks. `mutex_` guards all that is in memory, and listeners are called under it: that is what
// keeps a job's events in order, and why a listener may not call the service. The store has a mutex
// of its own; it is never called with mutex_ held, so that nothing in memory waits for a disk. A
// job goes into the store before it is in memory and leaves memory after the store knows its end:
// whoever looks in memory first and then in the store finds it.
#pragma once

#include <condition_variable>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/clock.h"
#include "server/drawer.h"
#include "server/job_progress.h"
#include "server/job_queue.h"
#include "server/job_service.h"
#include "server/job_store.h"
#include "server/service_counters.h"

namespace intaglio::server {

struct ServiceParts {
  std::filesystem::path folder;
  JobLimits limits = {};
  Retention retention = {};
  std::unique_ptr<Drawer> drawer = {};
  const Clock* clock = &system_clock();
};

class QueuedJobService final : public JobService {
 public:
  // A process that ends while it draws the same job so often is ended by it, perhaps.
  static constexpr int kMostAttempts = 2;

  static Expected<std::unique_ptr<JobService>> open(ServiceParts parts);
  ~QueuedJobService() override;

  const std::vector<ServedModel> models() const override { return parts_.drawer->models(); }
  std::vector<std::string> loras() const override { return parts_.drawer->loras(); }
  const JobLimits& limits() const override { return parts_.limits; }
  std::string device() const override { return parts_.drawer->device(); }

  Accepted<Job> submit(const JobRequest& request, const std::string& client) override;
  std::optional<Job> get(const std::string& id) const override;
  std::vector<Job> list(const JobQuery& query) const override;
  bool cancel(const std::string& id) override;
  bool remove(const std::string& id) override;
  std::filesystem::path picture(const std::string& id, int64_t index) const override;
  Expected<std::filesystem::path> input(const std::string& id) const override;
  uint64_t listen(const std::string& id, JobListener listener) override;
  void unlisten(uint64_t listener) override;
  ServiceStats stats() const override;
  bool ready() const override;
  void stop(std::chrono::milliseconds patience) override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  static constexpr double kProbeSeconds = 5;  // until a store that took nothing is asked again
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  enum class Why { kNone, kClient, kDeadline, kStop };
  // One that has not ended, or whose end the store has not taken yet.
  struct Live {
    StoredJob stored;
    double deadline = kNever;  // of the steady clock
    bool unsaved = false;
  };
  struct Running {
    Running() {}  // clang sees no implicit one before this class is whole
    std::string id;
    Why why = Why::kNone;  // of `cancel`
    std::atomic<bool> cancel{false};
    ProgressMeter meter;
  };
  struct Listener {
    std::string id;
    JobListener call;
  };

  QueuedJobService(ServiceParts parts, std::unique_ptr<JobStore> store);

  // job_acceptance.cpp
  Accepted<std::string> reserve(const std::string& client);
  void release(const std::string& client);
  Status take_up();  // what an earlier process left
  double deadline_of(const Job& job) const;
  void enqueue(Live live);

  // job_drawing.cpp
  void draw_jobs();
  void draw_job(Lock& lock, Live& live);
  std::optional<JobError> draw_pictures(Lock& lock, Live& live);
  std::optional<JobError> draw_picture(Lock& lock, Live& live, const InitPicture* init,
                                       int64_t index);
  void end_drawn(Lock& lock, Live& live, std::optional<JobError> error);
  void wait_for_store(Lock& lock, Live& live);
  void return_to_queue(Live& live);
  void put_back(Lock& lock, Live& live);
  void report(const std::string& id, int64_t picture, const PictureProgress& progress);
  void interrupt(Why why);

  // queued_job_service.cpp; those with a lock give it up meanwhile.
  void keep();
  double expire(Lock& lock);  // when the next deadline is
  void probe(Lock& lock);
  void save_ends(Lock& lock);
  void forget_old(Lock& lock);
  bool save(Lock& lock, Live& live);
  void end(Lock& lock, Live& live, JobState state, std::optional<JobError> error);
  void emit(JobEvent::Kind kind, const Job& job,
            const std::shared_ptr<const std::string>& preview = {}) const;
  void emit_positions() const;
  Job seen(const Job& job) const;  // with its position

  ServiceParts parts_;
  std::unique_ptr<JobStore> store_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Live> live_;
  JobQueue queue_;
  std::optional<Running> running_;
  DrawKey last_key_;
  std::map<uint64_t, Listener> listeners_;
  uint64_t last_listener_ = 0;
  std::string last_id_;
  int64_t accepting_ = 0;
  std::map<std::string, int64_t> accepting_of_;  // a client
  ServiceCounters counters_;
  // Whether the store took what it was given last.
  bool storing_ = true;
  double probe_at_ = 0;  // steady, where it did not
  bool stopping_ = false, ended_ = false, retention_due_ = true;

  std::thread drawing_, keeping_;
};

}  // namespace intaglio::server
