// Jobs in a Redis: the scripts of lua/ as calls, and what they publish as values.
//
// A job that is taken has a number, its fence, which grows each time; whoever draws it shows that
// number with all that it says of it, and is told kLost once it is somebody else's or has ended.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/drawer.h"
#include "server/input_pictures.h"
#include "server/job.h"
#include "server/job_service.h"
#include "server/redis_client.h"

namespace intaglio::server {

struct RedisJob {
  Job job;  // with its position, without progress
  int64_t revision = 0, fence = 0;
  int attempts = 0;               // times that it was started and did not come to an end
  std::vector<int64_t> drawn_by;  // fences, of each of job.pictures
  std::string load;               // DrawKey::load
  std::string not_understood;     // ForeignRequest::not_understood
};

// How a picture was drawn.
struct Drawn {
  std::string precision;
  double seconds = 0;
  std::array<double, kPhaseNames.size()> phase_ms{};
};

struct RedisEvent {
  enum class Kind { kState, kPicture, kCancel, kRemoved, kProgress, kPreview };
  Kind kind = Kind::kState;
  RedisJob job;  // kRemoved, kProgress, kPreview: its id, fence and progress alone
  std::optional<Drawn> drawn = {};                  // kPicture
  std::shared_ptr<const std::string> preview = {};  // a PNG
};

struct WorkerState {
  std::string name, device;
  struct Model {
    std::string name, precision;
    bool loaded = false;
  };
  std::vector<Model> models;
  uint64_t device_bytes = 0;
};

// For any thread. Errors: kIo where Redis is away or refuses it for now.
class RedisJobs {
 public:
  // A worker that is lost while it draws the same job so often is lost by it, perhaps.
  static constexpr int kMostAttempts = 2;

  explicit RedisJobs(std::shared_ptr<RedisClient> client) : client_(std::move(client)) {}
  RedisClient& client() const { return *client_; }

  // Which places of results belong to this queue: the mark that is kept in all of them. `mark` is
  // written if there is none yet.
  Expected<std::string> mark() const;
  Expected<std::string> offer_mark(const std::string& mark) const;

  // Of a request that is complete. Unlike the other calls: a Refusal where Redis is away.
  // `seconds_per_job`: for when to try again.
  Accepted<RedisJob> submit(const JobRequest& request, const std::vector<InputPicture>& inputs,
                            const std::string& client, const std::string& load,
                            const JobLimits& limits, double seconds_per_job) const;
  Expected<std::optional<RedisJob>> get(const std::string& id) const;
  // Without regard to query.text.
  Expected<std::vector<RedisJob>> list(const JobQuery& query) const;
  // False: there is none, or it has ended.
  Expected<bool> cancel(const std::string& id) const;
  // nullopt: there is none, or it has not ended.
  Expected<std::optional<RedisJob>> remove(const std::string& id) const;
  Expected<std::vector<std::string>> expired(double before, uint64_t bytes, int64_t limit) const;
  Expected<double> now() const;  // seconds since 1970, by its clock

  // An input picture is counted by the jobs that name it. One that is held, or that its last job
  // has left, stays for kUnusedSeconds; then one server takes it and removes its file.
  static constexpr int kUnusedSeconds = 600;
  // Before its file is written. kIo while a server removes it.
  Status hold_input(const std::string& id) const;
  Expected<std::vector<std::string>> take_unused_inputs(int64_t limit) const;
  Expected<bool> forget_inputs(const std::vector<std::string>& ids) const;  // whose files are gone

  // Those past their deadline; with a lease, those whose workers said nothing for so long. Returns
  // the seconds until the next deadline; infinity: none.
  Expected<double> sweep(std::optional<std::chrono::milliseconds> lease) const;

  struct Taken {
    RedisJob job;
    double seconds_left = 0;  // to its deadline; infinity: none
  };
  // nullopt: nothing that the worker can draw waits.
  Expected<std::optional<Taken>> take(const std::string& worker, const std::string& load,
                                      const std::vector<std::string>& models) const;
  enum class Lease { kHeld, kCancelled, kLate, kLost };
  Expected<Lease> renew(const std::string& worker, const std::string& id, int64_t fence) const;
  // These say whether the job was still the caller's.
  Expected<bool> add_picture(const RedisJob& job, const JobPicture& picture,
                             const Drawn& drawn) const;
  Expected<bool> end(const RedisJob& job, JobState state,
                     const std::optional<JobError>& error) const;
  Expected<bool> give_back(const std::string& id, int64_t fence) const;

  Status tell_progress(const Job& job, int64_t fence) const;
  Status tell_preview(const Job& job, int64_t fence, const std::string& png) const;
  // For so many seconds; 0: it leaves.
  Status announce(const WorkerState& worker, int64_t seconds) const;
  Expected<std::vector<WorkerState>> workers() const;

  // What the channel has; nullopt: nothing this program knows.
  static std::optional<RedisEvent> read_event(std::string_view message);
  static std::string channel();

 private:
  std::shared_ptr<RedisClient> client_;
};

}  // namespace intaglio::server
