// How a job gets in: from a client, or from an earlier process.
#include <fmt/format.h>

#include <algorithm>

#include "core/log.h"
#include "server/job_check.h"
#include "server/job_id.h"
#include "server/queued_job_service.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr double kLeastRetry = 1, kMostRetry = 3600;  // seconds
constexpr double kDiskRetry = 30;                     // until somebody has made room

}  // namespace

// A place in the queue, and an id.
Accepted<std::string> QueuedJobService::reserve(const std::string& client) {
  const Lock lock(mutex_);
  if (stopping_) return refused(Refusal::Reason::kStopping, "the server is stopping");
  const auto retry = [&](int64_t jobs) {
    return std::clamp(counters_.seconds_per_job() * static_cast<double>(jobs), kLeastRetry,
                      kMostRetry);
  };
  const auto accepting = accepting_of_.find(client);
  const int64_t of_client =
      queue_.of_client(client) + (accepting == accepting_of_.end() ? 0 : accepting->second);
  if (of_client >= parts_.limits.queued_of_client)
    return refused(Refusal::Reason::kClientFull,
                   fmt::format("{} of your jobs wait already; try again later", of_client),
                   retry(std::max<int64_t>(queue_.first_position_of(client), 1)));
  if (queue_.size() + accepting_ >= parts_.limits.queued)
    return refused(
        Refusal::Reason::kFull,
        fmt::format("the queue is full: {} jobs wait; try again later", queue_.size() + accepting_),
        retry(1));
  Expected<std::string> id = next_job_id(last_id_, parts_.clock->utc());
  if (!id) return refused(Refusal::Reason::kInternal, id.error().message);
  last_id_ = *id;
  ++accepting_;
  ++accepting_of_[client];
  return std::move(*id);
}

void QueuedJobService::release(const std::string& client) {
  --accepting_;
  if (--accepting_of_[client] == 0) accepting_of_.erase(client);
}

Accepted<Job> QueuedJobService::submit(const JobRequest& request, const std::string& client) {
  Accepted<CheckedRequest> checked = checked_request(
      request, parts_.limits, *parts_.drawer, [this](const std::string& id) { return input(id); });
  if (!checked) return tl::unexpected<Refusal>(std::move(checked.error()));
  Accepted<std::string> id = reserve(client);
  if (!id) return tl::unexpected<Refusal>(std::move(id.error()));
  Live live;
  Job& job = live.stored.job;
  job.id = std::move(*id);
  job.client = client;
  job.created = parts_.clock->utc();
  job.request = std::move(checked->request);
  live.deadline = deadline_of(job);
  const Status stored = store_->add(live.stored, checked->inputs);
  const Lock lock(mutex_);
  release(client);
  if (!stored) {
    log(LogLevel::kError, "{}", OwnLines{stored.error().message});
    // A full disk, as a rule: the request was right, and what is there is served.
    return refused(Refusal::Reason::kUnavailable,
                   "the job cannot be kept now: " + stored.error().message, kDiskRetry);
  }
  const std::string key = job.id;
  enqueue(std::move(live));
  const Job accepted = seen(live_.at(key).stored.job);
  emit(JobEvent::Kind::kState, accepted);
  if (accepted.position < queue_.size()) emit_positions();
  changed_.notify_all();
  return accepted;
}

void QueuedJobService::enqueue(Live live) {
  const Job& job = live.stored.job;
  queue_.add({.id = job.id,
              .client = job.client,
              .priority = job.request.priority,
              .key = parts_.drawer->key(job.request)});
  live_.insert_or_assign(std::string(job.id), std::move(live));
}

// The clock of the wall may have jumped since the job was accepted, also backwards.
double QueuedJobService::deadline_of(const Job& job) const {
  if (!job.request.deadline_seconds) return kNever;
  const double passed = std::max(parts_.clock->utc() - job.created, 0.0);
  return parts_.clock->steady() + std::max(*job.request.deadline_seconds - passed, 0.0);
}

Status QueuedJobService::take_up() {
  INTAGLIO_ASSIGN(last_id_, store_->last_id());
  INTAGLIO_ASSIGN(std::vector<StoredJob> unfinished, store_->unfinished());
  for (StoredJob& stored : unfinished) {
    Job& job = stored.job;
    if (job.state == JobState::kRunning) {
      job.state = JobState::kQueued;
      job.started = 0;
      if (stored.attempts >= kMostAttempts) {
        job.state = JobState::kFailed;
        job.finished = parts_.clock->utc();
        job.error = JobError{
            "interrupted",
            fmt::format("the server ended {} times while it drew this job", stored.attempts)};
      }
      INTAGLIO_TRY(store_->update(stored));
    }
    if (is_ended(job.state)) continue;
    const double deadline = deadline_of(job);
    enqueue({.stored = std::move(stored), .deadline = deadline});
  }
  return {};
}

}  // namespace intaglio::server
