#include "server/job_mirror.h"

#include <algorithm>

namespace intaglio::server {

Job JobMirror::with_position(const RedisJob& job) const {
  Job copy = job.job;
  copy.position = copy.state == JobState::kQueued ? queue_.position(copy.id) : 0;
  return copy;
}

Job JobMirror::seen(const RedisJob& job) const {
  const std::lock_guard lock(mutex_);
  Job copy = job.job;
  const auto known = jobs_.find(copy.id);
  if (known != jobs_.end() && known->second.fence == job.fence && copy.state != JobState::kQueued)
    copy.progress = known->second.job.progress;
  if (copy.state == JobState::kDone) {
    copy.progress.fraction = 1;
    copy.progress.seconds_left = 0;
  }
  return copy;
}

bool JobMirror::is_going_on(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto known = jobs_.find(id);
  return known != jobs_.end() && !is_ended(known->second.job.state);
}

void JobMirror::hear(const RedisEvent& event) {
  using Kind = RedisEvent::Kind;
  if (event.kind == Kind::kRemoved) return forget(event.job.job.id);
  if (event.kind == Kind::kState) return learn(event.job);
  const std::lock_guard lock(mutex_);
  if (event.kind == Kind::kProgress || event.kind == Kind::kPreview) return set_progress(event);
  std::optional<JobState> before;
  if (!take_in(event.job, before) || event.kind == Kind::kCancel) return;
  if (event.drawn) {
    DrawnPicture picture;
    picture.phase_ms = event.drawn->phase_ms;
    counters_.drew(event.job.job.request.model, event.drawn->precision, picture,
                   event.drawn->seconds);
  }
  emit(JobEvent::Kind::kPicture, with_position(jobs_.at(event.job.job.id)));
}

void JobMirror::learn(const RedisJob& job) {
  const std::lock_guard lock(mutex_);
  std::optional<JobState> before;
  if (!take_in(job, before)) return;
  count(job, before);
  emit(JobEvent::Kind::kState, with_position(jobs_.at(job.job.id)));
  if (before == JobState::kQueued || job.job.state == JobState::kQueued) emit_positions();
  if (is_ended(job.job.state)) {
    ended_.push_back(job.job.id);
    forget_ended();
  }
}

// False: it is no news. `before`: the state that was known.
bool JobMirror::take_in(const RedisJob& job, std::optional<JobState>& before) {
  const auto [at, fresh] = jobs_.try_emplace(job.job.id);
  RedisJob& known = at->second;
  if (!fresh) {
    if (job.revision <= known.revision) return false;
    before = known.job.state;
  }
  const JobProgress progress = known.job.progress;
  const bool same = !fresh && known.fence == job.fence && job.job.state != JobState::kQueued;
  known = job;
  if (same) known.job.progress = progress;
  if (job.job.state == JobState::kDone) {
    known.job.progress.fraction = 1;
    known.job.progress.seconds_left = 0;
  }
  requeue(job);
  return true;
}

void JobMirror::requeue(const RedisJob& job) {
  const bool waits = queue_.position(job.job.id) > 0;
  if (job.job.state != JobState::kQueued) {
    queue_.remove(job.job.id);
  } else if (!waits) {
    queue_.add({.id = job.job.id,
                .client = job.job.client,
                .priority = job.job.request.priority,
                .key = {}});
  }
}

void JobMirror::count(const RedisJob& job, std::optional<JobState> before) {
  const Job& j = job.job;
  if (j.state == JobState::kRunning) counters_.waited(std::max(j.started - j.created, 0.0));
  if (!is_ended(j.state)) return;
  counters_.ended(j.state, j.started > 0 ? std::max(j.finished - j.started, 0.0) : -1.0);
  if (before == JobState::kRunning && j.state != JobState::kDone)
    counters_.failed(j.request.model, "", j.state == JobState::kCancelled);
}

void JobMirror::set_progress(const RedisEvent& event) {
  const auto known = jobs_.find(event.job.job.id);
  if (known == jobs_.end() || known->second.fence != event.job.fence ||
      known->second.job.state != JobState::kRunning)
    return;
  Job& job = known->second.job;
  if (event.kind == RedisEvent::Kind::kProgress) {
    job.progress = event.job.job.progress;
    return emit(JobEvent::Kind::kProgress, job);
  }
  job.progress.picture = event.job.job.progress.picture;
  job.progress.step = event.job.job.progress.step;
  emit(JobEvent::Kind::kPreview, job, event.preview);
}

void JobMirror::forget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  jobs_.erase(id);
  const bool waited = queue_.remove(id);
  Job job;
  job.id = id;
  emit(JobEvent::Kind::kRemoved, job);
  if (waited) emit_positions();
}

void JobMirror::forget_ended() {
  while (ended_.size() > kMostEnded) {
    const auto known = jobs_.find(ended_.front());
    if (known != jobs_.end() && is_ended(known->second.job.state)) jobs_.erase(known);
    ended_.pop_front();
  }
}

void JobMirror::emit(JobEvent::Kind kind, const Job& job,
                     const std::shared_ptr<const std::string>& preview) const {
  for (const auto& [number, listener] : listeners_)
    if (listener.id.empty() || listener.id == job.id)
      listener.call({.kind = kind, .job = job, .preview = preview});
}

void JobMirror::emit_positions() const {
  for (const auto& [number, listener] : listeners_) {
    if (listener.id.empty() || queue_.position(listener.id) == 0) continue;
    const Job job = with_position(jobs_.at(listener.id));
    listener.call({.kind = JobEvent::Kind::kState, .job = job});
  }
}

uint64_t JobMirror::add(const std::string& id, JobListener listener) {
  const uint64_t number = ++last_listener_;
  listeners_[number] = {id, std::move(listener)};
  return number;
}

uint64_t JobMirror::listen(const std::string& id, JobListener listener) {
  const std::lock_guard lock(mutex_);
  if (id.empty()) return add(id, std::move(listener));
  const auto known = jobs_.find(id);
  if (known == jobs_.end()) return 0;
  const uint64_t number = add(id, std::move(listener));
  const Job now = with_position(known->second);
  listeners_.at(number).call({.kind = JobEvent::Kind::kState, .job = now});
  return number;
}

uint64_t JobMirror::listen_to(const RedisJob& job, JobListener listener) {
  if (!is_ended(job.job.state)) learn(job);
  // It may have ended meanwhile: then it is known.
  if (const uint64_t number = listen(job.job.id, listener)) return number;
  const Job now = seen(job);
  const std::lock_guard lock(mutex_);
  const uint64_t number = add(now.id, std::move(listener));
  listeners_.at(number).call({.kind = JobEvent::Kind::kState, .job = now});
  return number;
}

void JobMirror::unlisten(uint64_t listener) {
  const std::lock_guard lock(mutex_);
  listeners_.erase(listener);
}

std::vector<std::string> JobMirror::followed() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, job] : jobs_)
    if (!is_ended(job.job.state)) ids.push_back(id);
  for (const auto& [number, listener] : listeners_)
    if (!listener.id.empty()) ids.push_back(listener.id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

ServiceStats JobMirror::stats() const {
  const std::lock_guard lock(mutex_);
  ServiceStats stats = counters_.stats();
  stats.queued = queue_.size();
  stats.running = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return entry.second.job.state == JobState::kRunning;
  });
  return stats;
}

double JobMirror::seconds_per_job() const {
  const std::lock_guard lock(mutex_);
  return counters_.seconds_per_job();
}

}  // namespace intaglio::server
