// How a job gets in: from a client, or from an earlier process.
#include <fmt/format.h>

#include <algorithm>

#include "core/log.h"
#include "core/utf8.h"
#include "server/job_id.h"
#include "server/job_json.h"
#include "server/queued_job_service.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr double kLeastRetry = 1, kMostRetry = 3600;  // seconds

tl::unexpected<Refusal> above(const char* parameter, const char* unit, int64_t found,
                              int64_t most) {
  return invalid(parameter, fmt::format("{}: {}{}, this server takes at most {}", parameter, found,
                                        unit, most));
}

Accepted<void> within(const JobRequest& r, const JobLimits& limits) {
  if (r.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    return invalid("prompt", "prompt: blank, expected what to show");
  const std::string& negative = r.negative_prompt ? *r.negative_prompt : r.prompt;
  for (const auto& [name, text] :
       {std::pair("prompt", &r.prompt), std::pair("negative_prompt", &negative)}) {
    const auto bytes = static_cast<int64_t>(text->size());
    if (!is_utf8(*text)) return invalid(name, fmt::format("{}: expected UTF-8", name));
    if (bytes > limits.prompt_bytes) return above(name, " bytes", bytes, limits.prompt_bytes);
  }
  if (r.count < 1) return invalid("count", fmt::format("count: {}, expected 1 or more", r.count));
  if (r.count > limits.count) return above("count", "", r.count, limits.count);
  if (r.steps && *r.steps > limits.steps) return above("steps", "", *r.steps, limits.steps);
  if (r.width.has_value() != r.height.has_value())
    return invalid(r.width ? "height" : "width",
                   "width, height: expected both or neither, found one of them");
  if (r.width && (*r.width < 1 || *r.height < 1 || *r.width > limits.pixels / *r.height))
    return invalid("size", fmt::format("size: {}x{}, this server takes at most {} pixels", *r.width,
                                       *r.height, limits.pixels));
  if (r.deadline_seconds && !(*r.deadline_seconds > 0))
    return invalid("deadline_seconds", "deadline_seconds: expected more than 0");
  return {};
}

}  // namespace

Accepted<JobRequest> QueuedJobService::checked(const JobRequest& request) const {
  if (const Accepted<void> good = within(request, parts_.limits); !good)
    return tl::unexpected<Refusal>(good.error());
  Accepted<JobRequest> complete = parts_.drawer->complete(request);
  if (!complete) return complete;
  // What the model and its presets have chosen.
  if (const Accepted<void> good = within(*complete, parts_.limits); !good)
    return tl::unexpected<Refusal>(good.error());
  if (!complete->seed) {
    const Expected<uint64_t> bits = random_bits();
    if (!bits) return refused(Refusal::Reason::kInternal, bits.error().message);
    complete->seed = *bits >> 32;
  }
  if (*complete->seed > std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(request.count))
    return invalid("seed", "seed: too large for so many pictures");
  // As the store will read it.
  return parse_job_request(json_text(request_json(*complete)));
}

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
  Accepted<JobRequest> complete = checked(request);
  if (!complete) return tl::unexpected<Refusal>(std::move(complete.error()));
  Accepted<std::string> id = reserve(client);
  if (!id) return tl::unexpected<Refusal>(std::move(id.error()));
  Live live;
  Job& job = live.stored.job;
  job.id = std::move(*id);
  job.client = client;
  job.created = parts_.clock->utc();
  job.request = std::move(*complete);
  live.deadline = deadline_of(job);
  const Status stored = store_->add(live.stored);
  const Lock lock(mutex_);
  release(client);
  if (!stored) {
    log(LogLevel::kError, "{}", OwnLines{stored.error().message});
    return refused(Refusal::Reason::kInternal, "the job cannot be kept: " + stored.error().message);
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
