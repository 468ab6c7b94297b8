// Accepts jobs, keeps them, has them drawn one after the other, tells who listens.
//
// Durable: an accepted job is in the database before submit() returns. Whatever ends the process, a
// later one on the same folder finishes it, or says why not.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/model_info.h"
#include "server/job.h"

namespace intaglio::server {

// A step mask of a model that its pictures of so many steps can be drawn with.
struct ServedMask {
  std::string name;
  int64_t steps = 0;
  double share = 1.0;  // StepMask::cost
};

// A model the server can draw with.
struct ServedModel {
  std::string name;
  ModelInfo info;
  std::string precision;
  bool loaded = false;
  std::vector<ServedMask> masks = {};
};

struct JobLimits {
  int64_t queued = 1000;           // jobs that wait, in all
  int64_t queued_of_client = 200;  // of one client
  int64_t count = 16;              // pictures of a job
  int64_t prompt_bytes = 64 << 10;
  int64_t pixels = 2048 * 2048;
  int64_t steps = 200;
};

struct Retention {
  double seconds = 0;  // ended jobs older than this are forgotten; 0: none
  uint64_t bytes = 0;  // of pictures in all, the oldest ended jobs go first; 0: no bound
};

// Why a job is not taken.
struct Refusal {
  enum class Reason { kInvalid, kNotFound, kClientFull, kFull, kStopping, kUnavailable, kInternal };
  Reason reason = Reason::kInvalid;
  std::string parameter;  // of the request; empty: none
  std::string message;    // for people
  double retry_after_seconds =
      0;  // of kClientFull and kFull, from the measured rate; of kUnavailable
};
template <typename T>
using Accepted = tl::expected<T, Refusal>;

// What changed of a job. `job` is valid during the call.
struct JobEvent {
  enum class Kind { kState, kProgress, kPreview, kPicture, kRemoved };
  Kind kind = Kind::kState;
  const Job& job;
  // kPreview: a PNG of picture job.progress.picture after job.progress.step steps.
  std::shared_ptr<const std::string> preview = {};
};
using JobListener = std::function<void(const JobEvent&)>;

struct JobQuery {
  std::optional<JobState> state = {};
  std::string text = {};    // words that the prompt has
  std::string before = {};  // id; the newest where empty
  int64_t limit = 50;
};

// For /metrics; histograms are cumulative counts of the bounds.
struct ServiceStats {
  int64_t queued = 0, running = 0;
  std::map<std::string, uint64_t> ended;     // jobs by state's name
  std::map<std::string, uint64_t> pictures;  // by "model,precision,outcome"
  static constexpr double kBounds[] = {0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800};
  struct Histogram {
    std::vector<uint64_t> counts = std::vector<uint64_t>(std::size(kBounds) + 1);
    double sum = 0;
  };
  Histogram wait, run;                      // seconds a job
  std::map<std::string, Histogram> phases;  // by phase's name, of pictures
  double seconds_per_picture = 0;           // measured, 0: none yet
  uint64_t resident_bytes = 0, device_bytes = 0;
};

struct ServiceOptions {
  std::filesystem::path folder;     // of the database and the pictures; made if it is not there
  std::vector<std::string> models;  // as `--model` takes them; the first is the default
  std::string precision = "int8", device = "auto", parallel = "off";
  int threads = 0;
  uint64_t memory_limit = 0, vram_budget = 0;
  std::filesystem::path lora_folder;  // empty: none
  JobLimits limits;
  Retention retention;
  // Of several machines: the Redis that they share (redis_url.h), empty: none, jobs lie in
  // `folder`; a folder that all see or "s3://BUCKET/PREFIX", empty: `folder`/results; how long a worker may be
  // silent.
  std::string queue = {}, results = {};
  std::chrono::milliseconds lease{10'000};
};

class JobService {
 public:
  // Opens the database, takes up what an earlier process left, starts the thread that draws; or
  // joins the queue that others draw from.
  static Expected<std::unique_ptr<JobService>> open(const ServiceOptions& options);
  virtual ~JobService() = default;

  virtual const std::vector<ServedModel> models() const = 0;
  virtual std::vector<std::string> loras() const = 0;  // names of adapters, sorted
  virtual const JobLimits& limits() const = 0;
  virtual std::string device() const = 0;  // in words

  // Checks everything that can be checked, makes every choice, stores the job.
  virtual Accepted<Job> submit(const JobRequest& request, const std::string& client) = 0;
  virtual std::optional<Job> get(const std::string& id) const = 0;
  virtual std::vector<Job> list(const JobQuery& query) const = 0;  // newest first
  // Of a job that has ended: false. Ends a running one within a layer's time.
  virtual bool cancel(const std::string& id) = 0;
  // Forgets an ended job and its pictures; false: not there, or not ended.
  virtual bool remove(const std::string& id) = 0;
  // The file of a picture; empty: none.
  virtual std::filesystem::path picture(const std::string& id, int64_t index) const = 0;
  // The file of a KeptPicture; kNotFound: there is none.
  virtual Expected<std::filesystem::path> input(const std::string& id) const = 0;

  // Called from any thread, in order for one job, until unlisten() returns. `id` empty: all jobs.
  virtual uint64_t listen(const std::string& id, JobListener listener) = 0;
  virtual void unlisten(uint64_t listener) = 0;

  virtual ServiceStats stats() const = 0;
  virtual bool ready() const = 0;  // can draw
  // Why what get(), list() and others say of jobs may be wrong: they cannot be reached now. Empty:
  // all is well.
  virtual std::string outage() const { return {}; }
  // Takes no more jobs. Waits for the running one for so long, then puts it back into the queue.
  virtual void stop(std::chrono::milliseconds patience) = 0;
};

}  // namespace intaglio::server
