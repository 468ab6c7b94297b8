// A job service that draws when the test says so.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "server/job_service.h"

namespace intaglio::server {

class FakeJobs : public JobService {
 public:
  FakeJobs() {
    ServedModel model{.name = "mini", .info = {}, .precision = "int8", .loaded = true};
    model.info.name = "mini";
    model.info.default_width = model.info.default_height = 128;
    model.info.takes_init_picture = true;
    model.info.presets = {{.name = "FAST", .steps = 4}, {.name = "BEST", .steps = 40}};
    model.masks = {{.name = "half", .steps = 4, .share = 0.5}};
    models_.push_back(model);
    model.name = model.info.name = "plain";
    model.info.presets.clear();
    model.info.takes_init_picture = false;
    model.masks.clear();
    model.info.negative_prompt_refusal = "it reads none";
    model.info.unguided_reason = "it was distilled";
    models_.push_back(model);
  }

  const std::vector<ServedModel> models() const override { return models_; }
  std::vector<std::string> loras() const override { return {"style"}; }
  const JobLimits& limits() const override { return limits_; }
  std::string device() const override { return "a made-up CPU"; }

  Accepted<Job> submit(const JobRequest& request, const std::string& client) override {
    std::lock_guard lock(mutex_);
    if (refusal) return tl::unexpected(*refusal);
    Job job;
    std::string digits = std::to_string(jobs_.size());
    job.id = std::string(20 - digits.size(), '0') + digits;
    job.client = client;
    job.created = 1e9;
    job.request = request;
    if (job.request.model.empty()) job.request.model = "mini";
    if (!job.request.width) job.request.width = job.request.height = 128;
    if (!job.request.seed) job.request.seed = 7;
    job.position = 1;
    jobs_[job.id] = job;
    return job;
  }
  std::optional<Job> get(const std::string& id) const override {
    std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    return found == jobs_.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<Job> list(const JobQuery& query) const override {
    std::lock_guard lock(mutex_);
    std::vector<Job> result;
    for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) {
      if (query.state && at->second.state != *query.state) continue;
      if (!query.before.empty() && at->first >= query.before) continue;
      if (static_cast<int64_t>(result.size()) < query.limit) result.push_back(at->second);
    }
    return result;
  }
  bool cancel(const std::string& id) override {
    std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || is_ended(found->second.state)) return false;
    found->second.state = JobState::kCancelled;
    tell({.kind = JobEvent::Kind::kState, .job = found->second});
    return true;
  }
  bool remove(const std::string& id) override {
    std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end() || !is_ended(found->second.state)) return false;
    tell({.kind = JobEvent::Kind::kRemoved, .job = found->second});
    jobs_.erase(found);
    return true;
  }
  std::filesystem::path picture(const std::string& id, int64_t index) const override {
    std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    const bool there = found != jobs_.end() && index >= 0 &&
                       index < static_cast<int64_t>(found->second.pictures.size());
    return there ? picture_file : "";
  }
  Expected<std::filesystem::path> input(const std::string& id) const override {
    if (id == known_input) return picture_file;
    return make_error(ErrorCode::kNotFound, "it is not there");
  }
  uint64_t listen(const std::string& id, JobListener listener) override {
    std::lock_guard lock(mutex_);
    if (!id.empty()) {
      const auto found = jobs_.find(id);
      if (found == jobs_.end()) return 0;
      listener({.kind = JobEvent::Kind::kState, .job = found->second});
    }
    listeners_[++last_] = {id, std::move(listener)};
    return last_;
  }
  void unlisten(uint64_t listener) override {
    std::lock_guard lock(mutex_);
    listeners_.erase(listener);
  }
  ServiceStats stats() const override { return stats_; }
  bool ready() const override { return is_ready; }
  void stop(std::chrono::milliseconds) override {}

  // What the thread that draws would do.
  void finish(const std::string& id) {
    std::lock_guard lock(mutex_);
    Job& job = jobs_.at(id);
    for (int64_t i = 0; i < job.request.count; ++i) {
      job.pictures.push_back({.index = i,
                              .seed = *job.request.seed + static_cast<uint64_t>(i),
                              .width = *job.request.width,
                              .height = *job.request.height,
                              .bytes = 1});
      tell({.kind = JobEvent::Kind::kPicture, .job = job});
    }
    job.state = JobState::kDone;
    tell({.kind = JobEvent::Kind::kState, .job = job});
  }
  void fail(const std::string& id, const std::string& code) {
    std::lock_guard lock(mutex_);
    jobs_.at(id).state = JobState::kFailed;
    jobs_.at(id).error = JobError{code, "it did not work"};
    tell({.kind = JobEvent::Kind::kState, .job = jobs_.at(id)});
  }
  void preview(const std::string& id, std::string png) {
    std::lock_guard lock(mutex_);
    tell({.kind = JobEvent::Kind::kPreview,
          .job = jobs_.at(id),
          .preview = std::make_shared<const std::string>(std::move(png))});
  }
  void progress(const std::string& id, int64_t step) {
    std::lock_guard lock(mutex_);
    jobs_.at(id).progress.step = step;
    tell({.kind = JobEvent::Kind::kProgress, .job = jobs_.at(id)});
  }
  size_t count() const {
    std::lock_guard lock(mutex_);
    return jobs_.size();
  }
  size_t listeners() const {
    std::lock_guard lock(mutex_);
    return listeners_.size();
  }

  std::optional<Refusal> refusal;
  std::filesystem::path picture_file;
  std::string known_input;
  bool is_ready = true;

 private:
  void tell(const JobEvent& event) {
    for (const auto& [number, listener] : listeners_)
      if (listener.first.empty() || listener.first == event.job.id) listener.second(event);
  }

  mutable std::mutex mutex_;
  std::vector<ServedModel> models_;
  JobLimits limits_;
  ServiceStats stats_;
  std::map<std::string, Job> jobs_;
  std::map<uint64_t, std::pair<std::string, JobListener>> listeners_;
  uint64_t last_ = 0;
};

}  // namespace intaglio::server
