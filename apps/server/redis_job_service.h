// A JobService whose jobs lie in a Redis that any number of servers share, and are drawn by workers
// (redis_worker.h) on this machine or others. It draws nothing itself: its Drawer says what could
// be drawn.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "server/drawer.h"
#include "server/job_mirror.h"
#include "server/job_service.h"
#include "server/picture_store.h"
#include "server/redis_events.h"
#include "server/redis_jobs.h"

namespace intaglio::server {

struct RedisServiceParts {
  std::shared_ptr<RedisClient> client = {};
  std::unique_ptr<PictureStore> pictures = {};
  std::unique_ptr<Drawer> drawer = {};
  JobLimits limits = {};
  Retention retention = {};
  std::chrono::milliseconds lease{10'000};  // the same for all servers and workers
};

class RedisJobService final : public JobService {
 public:
  explicit RedisJobService(RedisServiceParts parts);
  ~RedisJobService() override;

  const std::vector<ServedModel> models() const override;
  std::vector<std::string> loras() const override { return parts_.drawer->loras(); }
  const JobLimits& limits() const override { return parts_.limits; }
  std::string device() const override;

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
  std::string outage() const override;
  void stop(std::chrono::milliseconds patience) override;

 private:
  // What an answer has; nothing, and outage() for a while, where there is none.
  template <typename T>
  std::optional<T> had(Expected<T> answer) const;
  bool catch_up();
  void keep();
  void look_after();
  void forget_old();
  void forget_inputs();
  Accepted<void> keep_inputs(const std::vector<InputPicture>& inputs) const;
  bool remove_job(const std::string& id) const;
  std::vector<WorkerState> workers() const;

  RedisServiceParts parts_;
  RedisJobs jobs_;
  JobMirror mirror_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WorkerState> workers_;
  mutable std::string failure_;   // why something could not be read or written last
  mutable double failed_at_ = 0;  // steady
  double next_deadline_ = 0;      // seconds from the last look on
  bool caught_up_ = false;        // with what was there before it
  bool stopping_ = false;

  std::unique_ptr<RedisEvents> events_;
  std::thread keeping_;
};

}  // namespace intaglio::server
