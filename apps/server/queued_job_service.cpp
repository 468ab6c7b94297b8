#include "server/queued_job_service.h"

#include <algorithm>

#include "core/log.h"
#include "server/job_id.h"

namespace intaglio::server {
namespace {

constexpr double kKeepSeconds = 30;  // between looks at what is old
constexpr int64_t kForgetAtOnce = 100;

}  // namespace

QueuedJobService::QueuedJobService(ServiceParts parts, std::unique_ptr<JobStore> store)
    : parts_(std::move(parts)), store_(std::move(store)) {}

Expected<std::unique_ptr<JobService>> QueuedJobService::open(ServiceParts parts) {
  INTAGLIO_ASSIGN(std::unique_ptr<JobStore> store, JobStore::open(parts.folder));
  std::unique_ptr<QueuedJobService> service(
      new QueuedJobService(std::move(parts), std::move(store)));
  INTAGLIO_TRY(service->take_up());
  service->drawing_ = std::thread([raw = service.get()] { raw->draw_jobs(); });
  service->keeping_ = std::thread([raw = service.get()] { raw->keep(); });
  return service;
}

QueuedJobService::~QueuedJobService() { stop(std::chrono::milliseconds(0)); }

Job QueuedJobService::seen(const Job& job) const {
  Job copy = job;
  copy.position = job.state == JobState::kQueued ? queue_.position(job.id) : 0;
  return copy;
}

std::optional<Job> QueuedJobService::get(const std::string& id) const {
  if (!is_job_id(id)) return std::nullopt;
  {
    const Lock lock(mutex_);
    const auto found = live_.find(id);
    if (found != live_.end()) return seen(found->second.stored.job);
  }
  Expected<std::optional<Job>> stored = store_->get(id);
  if (stored) return std::move(*stored);
  log(LogLevel::kError, "{}", OwnLines{stored.error().message});
  return std::nullopt;
}

std::vector<Job> QueuedJobService::list(const JobQuery& query) const {
  Expected<std::vector<Job>> stored = store_->list(query);
  if (!stored) {
    log(LogLevel::kError, "{}", OwnLines{stored.error().message});
    return {};
  }
  const Lock lock(mutex_);
  for (Job& job : *stored) {
    const auto found = live_.find(job.id);
    if (found != live_.end()) job = seen(found->second.stored.job);
  }
  // The state in memory is the newer one.
  if (query.state)
    std::erase_if(*stored, [&](const Job& job) { return job.state != *query.state; });
  return std::move(*stored);
}

bool QueuedJobService::cancel(const std::string& id) {
  Lock lock(mutex_);
  if (running_ && running_->id == id && !is_ended(live_.at(id).stored.job.state)) {
    interrupt(Why::kClient);
    return true;
  }
  if (!queue_.remove(id)) return false;
  end(lock, live_.at(id), JobState::kCancelled, std::nullopt);
  emit_positions();
  return true;
}

bool QueuedJobService::remove(const std::string& id) {
  if (!is_job_id(id)) return false;
  {
    const Lock lock(mutex_);
    if (live_.contains(id)) return false;
  }
  const Expected<std::optional<Job>> job = store_->get(id);
  if (!job || !*job || !is_ended((*job)->state)) return false;
  if (const Status removed = store_->remove(std::span(&id, 1)); !removed) {
    log(LogLevel::kError, "{}", OwnLines{removed.error().message});
    return false;
  }
  const Lock lock(mutex_);
  emit(JobEvent::Kind::kRemoved, **job);
  return true;
}

std::filesystem::path QueuedJobService::picture(const std::string& id, int64_t index) const {
  if (!is_job_id(id) || index < 0) return {};
  const std::filesystem::path file = store_->picture_file(id, index);
  std::error_code ignored;
  return std::filesystem::is_regular_file(file, ignored) ? file : std::filesystem::path();
}

Expected<std::filesystem::path> QueuedJobService::input(const std::string& id) const {
  const std::filesystem::path file = store_->input_file(id);
  std::error_code ignored;
  if (!is_input_id(id) || !std::filesystem::is_regular_file(file, ignored))
    return make_error(ErrorCode::kNotFound, "{}: it is not there", file.string());
  return file;
}

uint64_t QueuedJobService::listen(const std::string& id, JobListener listener) {
  std::optional<Job> stored;
  if (!id.empty()) {
    // An ended one is in the store alone.
    stored = get(id);
    if (!stored) return 0;
  }
  const Lock lock(mutex_);
  const uint64_t number = ++last_listener_;
  const Listener& kept = listeners_[number] = {id, std::move(listener)};
  if (id.empty()) return number;
  const auto found = live_.find(id);
  const Job now = found != live_.end() ? seen(found->second.stored.job) : *stored;
  kept.call({.kind = JobEvent::Kind::kState, .job = now});
  return number;
}

void QueuedJobService::unlisten(uint64_t listener) {
  const Lock lock(mutex_);
  listeners_.erase(listener);
}

void QueuedJobService::emit(JobEvent::Kind kind, const Job& job,
                            const std::shared_ptr<const std::string>& preview) const {
  for (const auto& [number, listener] : listeners_)
    if (listener.id.empty() || listener.id == job.id)
      listener.call({.kind = kind, .job = job, .preview = preview});
}

void QueuedJobService::emit_positions() const {
  for (const auto& [number, listener] : listeners_) {
    if (queue_.position(listener.id) == 0) continue;
    const Job job = seen(live_.at(listener.id).stored.job);
    listener.call({.kind = JobEvent::Kind::kState, .job = job});
  }
}

ServiceStats QueuedJobService::stats() const {
  ServiceStats stats;
  {
    const Lock lock(mutex_);
    stats = counters_.stats();
    stats.queued = queue_.size();
    stats.running = running_ ? 1 : 0;
  }
  stats.resident_bytes = resident_bytes();
  stats.device_bytes = parts_.drawer->device_bytes();
  return stats;
}

bool QueuedJobService::ready() const {
  const Lock lock(mutex_);
  return !stopping_ && storing_;
}

void QueuedJobService::stop(std::chrono::milliseconds patience) {
  {
    Lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, patience, [&] { return !running_; });
    if (running_) interrupt(Why::kStop);
  }
  if (drawing_.joinable()) drawing_.join();
  {
    const Lock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  if (keeping_.joinable()) keeping_.join();
}

bool QueuedJobService::save(Lock& lock, Live& live) {
  const StoredJob copy = live.stored;
  lock.unlock();
  const Status saved = store_->update(copy);
  lock.lock();
  if (saved) return true;
  log(LogLevel::kError, "job {}: {}", copy.job.id, OwnLines{saved.error().message});
  storing_ = false;
  probe_at_ = parts_.clock->steady() + kProbeSeconds;
  changed_.notify_all();
  return false;
}

void QueuedJobService::end(Lock& lock, Live& live, JobState state, std::optional<JobError> error) {
  Job& job = live.stored.job;
  job.state = state;
  job.error = std::move(error);
  job.finished = parts_.clock->utc();
  live.deadline = kNever;
  // What the disk does not take now it may take later (save_ends).
  live.unsaved = !save(lock, live);
  counters_.ended(state, job.started > 0 ? std::max(job.finished - job.started, 0.0) : -1.0);
  emit(JobEvent::Kind::kState, job);
  retention_due_ = true;
  if (!live.unsaved) live_.erase(std::string(job.id));
  changed_.notify_all();
}

double QueuedJobService::expire(Lock& lock) {
  const double now = parts_.clock->steady();
  std::vector<std::string> late;
  double next = kNever;
  for (auto& [id, live] : live_) {
    if (live.deadline > now) {
      next = std::min(next, live.deadline);
    } else if (running_ && running_->id == id) {
      interrupt(Why::kDeadline);
      live.deadline = kNever;
    } else {
      late.push_back(id);
    }
  }
  for (const std::string& id : late) {
    if (!queue_.remove(id)) continue;
    end(lock, live_.at(id), JobState::kFailed,
        JobError{"deadline", "it was not drawn within its deadline"});
  }
  if (!late.empty()) emit_positions();
  return next;
}

void QueuedJobService::probe(Lock& lock) {
  lock.unlock();
  const Status took = store_->probe();
  lock.lock();
  storing_ = took.has_value();
  probe_at_ = parts_.clock->steady() + kProbeSeconds;
  if (!storing_) return;
  save_ends(lock);
  changed_.notify_all();
}

void QueuedJobService::save_ends(Lock& lock) {
  std::vector<std::string> unsaved;
  for (const auto& [id, live] : live_)
    if (live.unsaved) unsaved.push_back(id);
  for (const std::string& id : unsaved)
    if (save(lock, live_.at(id))) live_.erase(id);
}

void QueuedJobService::forget_old(Lock& lock) {
  const Retention& retention = parts_.retention;
  if (retention.seconds <= 0 && retention.bytes == 0) return;
  for (bool more = true; more && !ended_;) {
    const double before = retention.seconds > 0 ? parts_.clock->utc() - retention.seconds : 0;
    lock.unlock();
    const auto ids = store_->expired(before, retention.bytes, kForgetAtOnce);
    Status status;
    if (ids) {
      status = store_->remove(*ids);
    } else {
      status = tl::unexpected<Error>(ids.error());
    }
    lock.lock();
    more = status && !ids->empty();
    if (!status) log(LogLevel::kError, "{}", OwnLines{status.error().message});
    if (!more) break;
    for (const std::string& id : *ids) {
      Job job;
      job.id = id;
      emit(JobEvent::Kind::kRemoved, job);
    }
  }
}

// Deadlines, ends that are not in the store yet, what is too old.
void QueuedJobService::keep() {
  Lock lock(mutex_);
  double next_look = parts_.clock->steady();
  while (!ended_) {
    const bool look = parts_.clock->steady() >= next_look;
    if (look || retention_due_) {
      retention_due_ = false;
      if (look) save_ends(lock);
      forget_old(lock);
      if (look) next_look = parts_.clock->steady() + kKeepSeconds;
    }
    if (!storing_ && parts_.clock->steady() >= probe_at_) probe(lock);
    const double next_deadline = expire(lock);
    if (ended_ || retention_due_) continue;
    const double next_probe = storing_ ? kNever : probe_at_;
    parts_.clock->wait(changed_, lock, std::min({next_deadline, next_look, next_probe}));
  }
  save_ends(lock);
}

}  // namespace intaglio::server
