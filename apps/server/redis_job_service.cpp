#include "server/redis_job_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/log.h"
#include "server/clock.h"
#include "server/job_check.h"
#include "server/job_id.h"
#include "server/refusal.h"
#include "server/word_search.h"

namespace intaglio::server {
namespace {

constexpr double kLookSeconds = 1;       // between looks at workers, leases and deadlines
constexpr double kRetentionSeconds = 5;  // and at what is old
constexpr int64_t kForgetAtOnce = 100;
constexpr double kRetrySeconds = 1;                             // where pictures cannot be kept
constexpr double kFailureSeconds = 2;                           // for which a failure is told
constexpr int64_t kSearchAtOnce = 200, kMostSearched = 10'000;  // jobs

constexpr std::chrono::seconds kFirstCatchUp{5};

double steady() { return system_clock().steady(); }

}  // namespace

RedisJobService::RedisJobService(RedisServiceParts parts)
    : parts_(std::move(parts)), jobs_(parts_.client) {
  look_after();
  events_ = std::make_unique<RedisEvents>(
      parts_.client,
      RedisEvents::Handlers{.connected = [this] { return catch_up(); },
                            .heard = [this](const RedisEvent& event) { mirror_.hear(event); }});
  keeping_ = std::thread([this] { keep(); });
  // So that it misses nothing of what it accepts.
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kFirstCatchUp, [&] { return caught_up_; });
}

RedisJobService::~RedisJobService() { stop(std::chrono::milliseconds(0)); }

template <typename T>
std::optional<T> RedisJobService::had(Expected<T> answer) const {
  if (answer) return std::move(*answer);
  const std::lock_guard lock(mutex_);
  // Once for all that ask while it lasts.
  if (failure_ != answer.error().message || steady() - failed_at_ > kFailureSeconds)
    log(LogLevel::kError, "{}", OwnLines{answer.error().message});
  failure_ = std::move(answer.error().message);
  failed_at_ = steady();
  return std::nullopt;
}

std::vector<WorkerState> RedisJobService::workers() const {
  const std::lock_guard lock(mutex_);
  return workers_;
}

const std::vector<ServedModel> RedisJobService::models() const {
  std::vector<ServedModel> models = parts_.drawer->models();
  for (const WorkerState& worker : workers()) {
    for (const WorkerState::Model& theirs : worker.models) {
      const auto own = std::find_if(models.begin(), models.end(), [&](const ServedModel& model) {
        return model.name == theirs.name;
      });
      if (own == models.end()) continue;
      own->precision = theirs.precision;
      own->loaded = own->loaded || theirs.loaded;
    }
  }
  return models;
}

std::string RedisJobService::device() const {
  const std::vector<WorkerState> all = workers();
  if (all.empty()) return "no worker yet";
  std::string text;
  for (const WorkerState& worker : all)
    if (text.find(worker.device) == std::string::npos)
      text += (text.empty() ? "" : ", ") + worker.device;
  return fmt::format("{} worker{}: {}", all.size(), all.size() == 1 ? "" : "s", text);
}

Accepted<Job> RedisJobService::submit(const JobRequest& request, const std::string& client) {
  const Accepted<CheckedRequest> checked = checked_request(
      request, parts_.limits, *parts_.drawer, [this](const std::string& id) { return input(id); });
  if (!checked) return tl::unexpected<Refusal>(checked.error());
  double hands = 1;  // that share the work
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return refused(Refusal::Reason::kStopping, "the server is stopping");
    hands = std::max(hands, static_cast<double>(workers_.size()));
  }
  if (const Accepted<void> kept = keep_inputs(checked->inputs); !kept)
    return tl::unexpected<Refusal>(kept.error());
  const JobRequest& complete = checked->request;
  const Accepted<RedisJob> job =
      jobs_.submit(complete, checked->inputs, client, parts_.drawer->key(complete).load,
                   parts_.limits, mirror_.seconds_per_job() / hands);
  if (!job) {
    if (job.error().reason == Refusal::Reason::kUnavailable)
      log(LogLevel::kError, "{}", OwnLines{job.error().message});
    return tl::unexpected<Refusal>(job.error());
  }
  mirror_.learn(*job);
  return mirror_.seen(*job);
}

// Until a job names them they stay for a while.
Accepted<void> RedisJobService::keep_inputs(const std::vector<InputPicture>& inputs) const {
  for (const InputPicture& input : inputs) {
    Status kept = jobs_.hold_input(input.id);
    if (kept) kept = parts_.pictures->put(input_name(input.id), input.png);
    if (kept) continue;
    log(LogLevel::kError, "{}", OwnLines{kept.error().message});
    return refused(Refusal::Reason::kUnavailable,
                   "the picture cannot be kept now: " + kept.error().message, kRetrySeconds);
  }
  return {};
}

std::optional<Job> RedisJobService::get(const std::string& id) const {
  if (!is_job_id(id)) return std::nullopt;
  const auto found = had(jobs_.get(id));
  if (!found || !*found) return std::nullopt;
  return mirror_.seen(**found);
}

std::vector<Job> RedisJobService::list(const JobQuery& query) const {
  const WordSearch words(query.text);
  JobQuery part = query;
  if (!words.empty()) part.limit = kSearchAtOnce;
  std::vector<Job> jobs;
  for (int64_t searched = 0; searched < kMostSearched; searched += part.limit) {
    const auto found = had(jobs_.list(part));
    if (!found) return {};
    for (const RedisJob& job : *found) {
      part.before = job.job.id;
      if (words.found_in(job.job.request.prompt)) jobs.push_back(mirror_.seen(job));
      if (static_cast<int64_t>(jobs.size()) == query.limit) return jobs;
    }
    if (static_cast<int64_t>(found->size()) < part.limit || words.empty()) return jobs;
  }
  return jobs;
}

bool RedisJobService::cancel(const std::string& id) {
  return is_job_id(id) && had(jobs_.cancel(id)).value_or(false);
}

bool RedisJobService::remove_job(const std::string& id) const {
  const auto removed = had(jobs_.remove(id));
  if (!removed || !*removed) return false;
  // Those of workers that were lost in the midst of it, too.
  std::vector<std::string> names;
  const RedisJob& job = **removed;
  for (int64_t index = 0; index < job.job.request.count; ++index)
    for (int64_t fence = 1; fence <= job.fence; ++fence)
      names.push_back(picture_name(id, index, fence));
  if (const Status gone = parts_.pictures->remove(names); !gone)
    log(LogLevel::kError, "{}", OwnLines{gone.error().message});
  return true;
}

bool RedisJobService::remove(const std::string& id) { return is_job_id(id) && remove_job(id); }

std::filesystem::path RedisJobService::picture(const std::string& id, int64_t index) const {
  if (!is_job_id(id) || index < 0) return {};
  const auto job = had(jobs_.get(id));
  if (!job || !*job) return {};
  const std::vector<JobPicture>& pictures = (*job)->job.pictures;
  for (size_t i = 0; i < pictures.size(); ++i) {
    if (pictures[i].index != index) continue;
    return had(parts_.pictures->file(picture_name(id, index, (*job)->drawn_by[i]))).value_or("");
  }
  return {};
}

Expected<std::filesystem::path> RedisJobService::input(const std::string& id) const {
  if (!is_input_id(id)) return make_error(ErrorCode::kNotFound, "there is no such picture");
  return parts_.pictures->file(input_name(id));
}

uint64_t RedisJobService::listen(const std::string& id, JobListener listener) {
  if (id.empty()) return mirror_.listen(id, std::move(listener));
  if (!is_job_id(id)) return 0;
  if (mirror_.is_going_on(id))
    if (const uint64_t number = mirror_.listen(id, listener)) return number;
  const auto job = had(jobs_.get(id));
  return job && *job ? mirror_.listen_to(**job, std::move(listener)) : 0;
}

void RedisJobService::unlisten(uint64_t listener) { mirror_.unlisten(listener); }

// What may have been missed while nothing was heard.
bool RedisJobService::catch_up() {
  constexpr int64_t kAtOnce = 500;
  for (const JobState state : {JobState::kRunning, JobState::kQueued}) {
    JobQuery query{.state = state, .limit = kAtOnce};
    for (bool more = true; more;) {
      const auto jobs = had(jobs_.list(query));
      if (!jobs) return false;
      for (const RedisJob& job : *jobs) mirror_.learn(job);
      more = static_cast<int64_t>(jobs->size()) == kAtOnce;
      if (more) query.before = jobs->back().job.id;
    }
  }
  for (const std::string& id : mirror_.followed()) {
    const auto job = had(jobs_.get(id));
    if (!job) return false;
    if (*job) {
      mirror_.learn(**job);
    } else {
      mirror_.forget(id);
    }
  }
  const std::lock_guard lock(mutex_);
  caught_up_ = true;
  changed_.notify_all();
  return true;
}

ServiceStats RedisJobService::stats() const {
  ServiceStats stats = mirror_.stats();
  stats.resident_bytes = resident_bytes();
  for (const WorkerState& worker : workers()) stats.device_bytes += worker.device_bytes;
  return stats;
}

bool RedisJobService::ready() const {
  const bool reached = parts_.client->outage().empty();
  const std::lock_guard lock(mutex_);
  return reached && !stopping_ && !workers_.empty();
}

std::string RedisJobService::outage() const {
  std::string reason = parts_.client->outage();
  const std::lock_guard lock(mutex_);
  if (reason.empty() && failed_at_ > 0 && steady() - failed_at_ < kFailureSeconds)
    reason = failure_;
  return reason.empty() ? "" : "jobs cannot be reached now, try again later: " + reason;
}

void RedisJobService::look_after() {
  // Leases ran on while Redis was away: whoever draws gets the time of one to say so.
  const double lease = std::chrono::duration<double>(parts_.lease).count();
  const bool renewed = parts_.client->reached_for() > lease;
  const auto next = had(jobs_.sweep(renewed ? std::optional(parts_.lease) : std::nullopt));
  auto workers = had(jobs_.workers());
  const std::lock_guard lock(mutex_);
  next_deadline_ = next.value_or(std::numeric_limits<double>::infinity());
  if (workers) workers_ = std::move(*workers);
}

void RedisJobService::forget_old() {
  const Retention& retention = parts_.retention;
  if (retention.seconds <= 0 && retention.bytes == 0) return;
  for (bool more = true; more;) {
    const auto now = had(jobs_.now());
    if (!now) return;
    const double before = retention.seconds > 0 ? *now - retention.seconds : 0;
    const auto ids = had(jobs_.expired(before, retention.bytes, kForgetAtOnce));
    if (!ids) return;
    for (const std::string& id : *ids) remove_job(id);
    more = static_cast<int64_t>(ids->size()) == kForgetAtOnce;
  }
}

void RedisJobService::forget_inputs() {
  const auto ids = had(jobs_.take_unused_inputs(kForgetAtOnce));
  if (!ids || ids->empty()) return;
  std::vector<std::string> names;
  for (const std::string& id : *ids) names.push_back(input_name(id));
  if (const Status gone = parts_.pictures->remove(names); !gone)
    log(LogLevel::kError, "{}", OwnLines{gone.error().message});
  static_cast<void>(had(jobs_.forget_inputs(*ids)));
}

void RedisJobService::keep() {
  double next_retention = 0;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    look_after();
    if (steady() >= next_retention) {
      forget_old();
      forget_inputs();
      next_retention = steady() + kRetentionSeconds;
    }
    lock.lock();
    const double wait = std::clamp(next_deadline_, 0.01, kLookSeconds);
    changed_.wait_for(lock, std::chrono::duration<double>(wait), [&] { return stopping_; });
  }
}

void RedisJobService::stop(std::chrono::milliseconds) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (keeping_.joinable()) keeping_.join();
}

}  // namespace intaglio::server
