#include "server/redis_jobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "server/job_id.h"
#include "server/redis_job_json.h"
#include "server/refusal.h"

namespace intaglio::server {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kLeastRetry = 1, kMostRetry = 3600;  // seconds
constexpr const char* kDropping = "the same picture is being removed just now; try again";
constexpr size_t kRandomDigits = 11;  // of a job's id

std::string prefixed(std::string_view name) {
  return std::string(kRedisPrefix) + std::string(name);
}

tl::unexpected<Error> unreadable() {
  return make_error(ErrorCode::kBadFormat, "the queue has what is no job");
}

// {job, position}
Expected<RedisJob> read_pair(const RedisValue& value) {
  if (value.items.size() != 2) return unreadable();
  INTAGLIO_ASSIGN(RedisJob job, read_redis_job(value.items[0].text));
  job.job.position = value.items[1].integer;
  return job;
}

double seconds_or_never(const std::string& text) {
  return text.empty() ? kNever : std::strtod(text.c_str(), nullptr);
}

double retry_after(double seconds) { return std::clamp(seconds, kLeastRetry, kMostRetry); }

}  // namespace

std::string RedisJobs::channel() { return prefixed("events"); }

Expected<std::string> RedisJobs::mark() const {
  INTAGLIO_ASSIGN(const RedisValue value, client_->command({"GET", prefixed("mark")}));
  return value.text;
}

Expected<std::string> RedisJobs::offer_mark(const std::string& mark) const {
  INTAGLIO_TRY(client_->command({"SET", prefixed("mark"), mark, "NX"}));
  return this->mark();
}

Accepted<RedisJob> RedisJobs::submit(const JobRequest& request,
                                     const std::vector<InputPicture>& inputs,
                                     const std::string& client, const std::string& load,
                                     const JobLimits& limits, double seconds_per_job) const {
  const Expected<std::string> id = next_job_id("", 0);
  if (!id) return refused(Refusal::Reason::kInternal, id.error().message);
  size_t bytes = 0;
  for (const InputPicture& input : inputs) bytes += input.png.size();
  RedisWords words{id->substr(kJobIdLength - kRandomDigits),
                   client,
                   std::to_string(request.priority),
                   request.model,
                   load,
                   stored_request_text(request),
                   request.deadline_seconds ? fmt::format("{}", *request.deadline_seconds) : "",
                   std::to_string(limits.queued),
                   std::to_string(limits.queued_of_client),
                   std::to_string(bytes)};
  for (const InputPicture& input : inputs) words.push_back(input.id);
  const auto answer = client_->run("submit", words);
  if (!answer)
    return refused(Refusal::Reason::kUnavailable,
                   "the queue takes no job now: " + answer.error().message, kLeastRetry);
  const std::string& outcome = answer->items.front().text;
  if (outcome == "dropping") return refused(Refusal::Reason::kUnavailable, kDropping, kLeastRetry);
  const int64_t jobs = answer->items[1].integer;
  if (outcome == "client_full")
    return refused(Refusal::Reason::kClientFull,
                   fmt::format("{} of your jobs wait already; try again later", jobs),
                   retry_after(seconds_per_job * static_cast<double>(std::max<int64_t>(
                                                     answer->items[2].integer, 1))));
  if (outcome == "full")
    return refused(Refusal::Reason::kFull,
                   fmt::format("the queue is full: {} jobs wait; try again later", jobs),
                   retry_after(seconds_per_job));
  Expected<RedisJob> job = read_redis_job(answer->items[1].text);
  if (!job) return refused(Refusal::Reason::kInternal, job.error().message);
  job->job.position = answer->items[2].integer;
  return std::move(*job);
}

Expected<std::optional<RedisJob>> RedisJobs::get(const std::string& id) const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("get", {id}));
  if (answer.is_nil()) return std::nullopt;
  return read_pair(answer);
}

Expected<std::vector<RedisJob>> RedisJobs::list(const JobQuery& query) const {
  const std::string_view state =
      query.state ? kJobStateNames[static_cast<size_t>(*query.state)] : "";
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("list", {std::string(state), query.before,
                                                                 std::to_string(query.limit)}));
  std::vector<RedisJob> jobs;
  for (const RedisValue& item : answer.items) {
    INTAGLIO_ASSIGN(RedisJob job, read_pair(item));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

Expected<bool> RedisJobs::cancel(const std::string& id) const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("cancel", {id}));
  return answer.integer == 1;
}

Expected<std::optional<RedisJob>> RedisJobs::remove(const std::string& id) const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("remove", {id}));
  if (answer.is_nil()) return std::nullopt;
  return read_redis_job(answer.text);
}

Expected<std::vector<std::string>> RedisJobs::expired(double before, uint64_t bytes,
                                                      int64_t limit) const {
  INTAGLIO_ASSIGN(const RedisValue answer,
                  client_->run("expired", {fmt::format("{:.6f}", before), std::to_string(bytes),
                                           std::to_string(limit)}));
  std::vector<std::string> ids;
  for (const RedisValue& item : answer.items) ids.push_back(item.text);
  return ids;
}

Status RedisJobs::hold_input(const std::string& id) const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("hold_input", {id}));
  if (answer.integer == 1) return {};
  return make_error(ErrorCode::kIo, kDropping);
}

Expected<std::vector<std::string>> RedisJobs::take_unused_inputs(int64_t limit) const {
  INTAGLIO_ASSIGN(
      const RedisValue answer,
      client_->run("unused_inputs", {std::to_string(kUnusedSeconds), std::to_string(limit)}));
  std::vector<std::string> ids;
  for (const RedisValue& item : answer.items) ids.push_back(item.text);
  return ids;
}

Expected<bool> RedisJobs::forget_inputs(const std::vector<std::string>& ids) const {
  INTAGLIO_TRY(client_->run("forget_inputs", ids));
  return true;
}

Expected<double> RedisJobs::now() const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->command({"TIME"}));
  if (answer.items.size() != 2) return unreadable();
  return std::strtod(answer.items[0].text.c_str(), nullptr) +
         std::strtod(answer.items[1].text.c_str(), nullptr) / 1e6;
}

Expected<double> RedisJobs::sweep(std::optional<std::chrono::milliseconds> lease) const {
  INTAGLIO_ASSIGN(const RedisValue answer,
                  client_->run("sweep", {std::to_string(lease ? lease->count() : 0),
                                         std::to_string(kMostAttempts)}));
  return seconds_or_never(answer.text);
}

Expected<std::optional<RedisJobs::Taken>> RedisJobs::take(
    const std::string& worker, const std::string& load,
    const std::vector<std::string>& models) const {
  RedisWords words{worker, load, std::to_string(JobQueue::kMostOvertaken),
                   std::to_string(JobQueue::kMostOvertakenSeconds)};
  words.insert(words.end(), models.begin(), models.end());
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("take", words));
  if (answer.is_nil()) return std::nullopt;
  if (answer.items.size() != 2) return unreadable();
  Taken taken;
  INTAGLIO_ASSIGN(taken.job, read_redis_job(answer.items[0].text));
  taken.seconds_left = seconds_or_never(answer.items[1].text);
  return taken;
}

Expected<RedisJobs::Lease> RedisJobs::renew(const std::string& worker, const std::string& id,
                                            int64_t fence) const {
  INTAGLIO_ASSIGN(const RedisValue answer,
                  client_->run("renew", {worker, id, std::to_string(fence)}));
  if (answer.items.size() != 2) return Lease::kLost;
  if (answer.items[0].integer == 1) return Lease::kCancelled;
  return answer.items[1].integer == 1 ? Lease::kLate : Lease::kHeld;
}

Expected<bool> RedisJobs::add_picture(const RedisJob& job, const JobPicture& picture,
                                      const Drawn& drawn) const {
  INTAGLIO_ASSIGN(
      const RedisValue answer,
      client_->run("picture", {job.job.id, std::to_string(job.fence), std::to_string(picture.index),
                               picture_text(picture, job.fence), std::to_string(picture.bytes),
                               drawn_text(drawn)}));
  return answer.integer == 1;
}

Expected<bool> RedisJobs::end(const RedisJob& job, JobState state,
                              const std::optional<JobError>& error) const {
  INTAGLIO_ASSIGN(const RedisValue answer,
                  client_->run("end", {job.job.id, std::to_string(job.fence),
                                       std::string(kJobStateNames[static_cast<size_t>(state)]),
                                       error ? error->code : "", error ? error->message : ""}));
  return !answer.is_nil();
}

Expected<bool> RedisJobs::give_back(const std::string& id, int64_t fence) const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("give_back", {id, std::to_string(fence)}));
  return answer.integer == 1;
}

Status RedisJobs::tell_progress(const Job& job, int64_t fence) const {
  INTAGLIO_TRY(client_->command({"PUBLISH", channel(), progress_message(job, fence)}));
  return {};
}

Status RedisJobs::tell_preview(const Job& job, int64_t fence, const std::string& png) const {
  INTAGLIO_TRY(client_->command({"PUBLISH", channel(), preview_message(job, fence, png)}));
  return {};
}

Status RedisJobs::announce(const WorkerState& worker, int64_t seconds) const {
  INTAGLIO_TRY(
      client_->run("announce", {worker.name, worker_text(worker), std::to_string(seconds)}));
  return {};
}

Expected<std::vector<WorkerState>> RedisJobs::workers() const {
  INTAGLIO_ASSIGN(const RedisValue answer, client_->run("workers", {}));
  std::vector<WorkerState> workers;
  for (const RedisValue& item : answer.items)
    if (std::optional<WorkerState> worker = read_worker(item.text))
      workers.push_back(std::move(*worker));
  std::sort(workers.begin(), workers.end(),
            [](const WorkerState& a, const WorkerState& b) { return a.name < b.name; });
  return workers;
}

std::optional<RedisEvent> RedisJobs::read_event(std::string_view message) {
  return read_redis_event(message);
}

}  // namespace intaglio::server
