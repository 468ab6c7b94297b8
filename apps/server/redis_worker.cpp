// The thread that draws.
#include "server/redis_worker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "core/log.h"
#include "core/out_of_memory.h"
#include "server/clock.h"
#include "server/input_pictures.h"
#include "server/job_id.h"

namespace intaglio::server {
namespace {

constexpr std::chrono::milliseconds kIdle{1000};  // until it asks again without being woken
constexpr std::chrono::milliseconds kAgain{200};  // until it asks again where Redis was away
constexpr size_t kMostPreviews = 8;               // that wait to be sent

double steady() { return system_clock().steady(); }

}  // namespace

Expected<std::string> RedisWorker::own_name() {
  char host[256] = "unknown";
  static_cast<void>(::gethostname(host, sizeof(host) - 1));
  INTAGLIO_ASSIGN(const uint64_t bits, random_bits());
  return fmt::format("{}:{}:{:04x}", host, ::getpid(), bits & 0xffff);
}

RedisWorker::RedisWorker(WorkerParts parts) : parts_(std::move(parts)), jobs_(parts_.client) {
  announce();
  events_ = std::make_unique<RedisEvents>(
      parts_.client,
      RedisEvents::Handlers{.connected =
                                [this] {
                                  const Lock lock(mutex_);
                                  ++wakes_;
                                  changed_.notify_all();
                                  return true;
                                },
                            .heard = [this](const RedisEvent& event) { hear(event); }});
  keeping_ = std::thread([this] { keep(); });
  sending_ = std::thread([this] { send(); });
  drawing_ = std::thread([this] { draw_jobs(); });
}

RedisWorker::~RedisWorker() { stop(std::chrono::milliseconds(0)); }

void RedisWorker::stop(std::chrono::milliseconds patience) {
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
  if (sending_.joinable()) sending_.join();
  if (!keeping_.joinable()) return;
  keeping_.join();
  events_.reset();
  static_cast<void>(jobs_.announce({.name = parts_.name, .device = {}, .models = {}}, 0));
}

void RedisWorker::interrupt(Why why) {
  if (running_->why == Why::kNone) running_->why = why;
  running_->cancel = true;
}

void RedisWorker::draw_jobs() {
  Lock lock(mutex_);
  while (!stopping_) {
    const uint64_t wakes = wakes_;
    lock.unlock();
    const bool drew = draw_next();
    lock.lock();
    if (!drew) changed_.wait_for(lock, kIdle, [&] { return stopping_ || wakes_ != wakes; });
  }
}

// False: there was nothing to draw.
bool RedisWorker::draw_next() {
  std::vector<std::string> models;
  for (const ServedModel& model : parts_.drawer->models()) models.push_back(model.name);
  const double asked = steady();
  auto taken = jobs_.take(parts_.name, load_, models);
  if (!taken) {
    log(LogLevel::kError, "{}", OwnLines{taken.error().message});
    return false;
  }
  if (!*taken) return false;
  Lock lock(mutex_);
  running_.emplace();
  running_->job = std::move((*taken)->job);
  running_->deadline = asked + (*taken)->seconds_left;
  running_->leased_until = asked + lease_seconds();
  running_->renew_at = asked + lease_seconds() / 3;
  load_ = running_->job.load;
  if (stopping_) interrupt(Why::kStop);
  changed_.notify_all();
  end_drawn(lock, draw_pictures(lock));
  running_.reset();
  changed_.notify_all();
  return true;
}

std::optional<JobError> RedisWorker::draw_pictures(Lock& lock) {
  const Job& job = running_->job.job;
  if (const std::string& why = running_->job.not_understood; !why.empty())
    return job_error({ErrorCode::kUnsupported,
                      fmt::format("the worker does not understand what a server of another version "
                                  "took: {}",
                                  why)});
  lock.unlock();
  const auto init = guard_memory("reading the picture to begin from", [&] {
    return read_init_picture(job.request, [this](const std::string& id) {
      return parts_.pictures->file(input_name(id));
    });
  });
  lock.lock();
  if (!init) return job_error(init.error());
  for (int64_t index = 0; index < job.request.count; ++index) {
    const bool there = std::any_of(job.pictures.begin(), job.pictures.end(),
                                   [&](const JobPicture& p) { return p.index == index; });
    if (there) continue;
    if (running_->cancel) return job_error({ErrorCode::kCancelled, "cancelled"});
    if (auto error = draw_picture(lock, *init ? &**init : nullptr, index)) return error;
  }
  return std::nullopt;
}

std::optional<JobError> RedisWorker::draw_picture(Lock& lock, const InitPicture* init,
                                                  int64_t index) {
  // Only this thread changes what is not under the lock here.
  const RedisJob& taken = running_->job;
  const JobRequest& request = taken.job.request;
  DrawHooks hooks;
  hooks.cancel = &running_->cancel;
  hooks.init = init;
  hooks.progress = [&](const PictureProgress& progress) { report(index, progress); };
  if (request.previews > 0)
    hooks.preview = [&](int64_t step, std::shared_ptr<const std::string> png) {
      preview(index, step, std::move(png));
    };
  JobPicture picture{.index = index,
                     .seed = request.seed.value_or(0) + static_cast<uint64_t>(index)};
  const double start = steady();
  lock.unlock();
  const Expected<DrawnPicture> drawn =
      guard_memory("drawing a picture", [&] { return parts_.drawer->draw(request, index, hooks); });
  Status status;
  Drawn how;
  if (drawn) {
    picture.width = drawn->width;
    picture.height = drawn->height;
    picture.bytes = drawn->png.size();
    how.seconds = steady() - start;
    how.phase_ms = drawn->phase_ms;
    for (const ServedModel& model : parts_.drawer->models())
      if (model.name == request.model) how.precision = model.precision;
    status =
        parts_.pictures->put(picture_name(taken.job.id, index, taken.fence),
                             {reinterpret_cast<const char*>(drawn->png.data()), drawn->png.size()});
  } else {
    status = tl::unexpected<Error>(drawn.error());
  }
  lock.lock();
  if (!status) return job_error(status.error());
  if (!insist(lock, [&] { return jobs_.add_picture(taken, picture, how); }).value_or(false))
    interrupt(Why::kLost);
  running_->job.job.pictures.push_back(picture);
  return std::nullopt;
}

template <typename Call>
std::optional<bool> RedisWorker::insist(Lock& lock, Call&& call) {
  for (;;) {
    lock.unlock();
    const Expected<bool> answer = call();
    lock.lock();
    if (answer) return *answer;
    log(LogLevel::kError, "job {}: {}", running_->job.job.id, OwnLines{answer.error().message});
    if (running_->why == Why::kLost || steady() >= running_->leased_until) return std::nullopt;
    changed_.wait_for(lock, kAgain);
  }
}

void RedisWorker::report(int64_t index, const PictureProgress& progress) {
  const Lock lock(mutex_);
  Job& job = running_->job.job;
  running_->meter.update(job, index, progress, steady());
  // What was not sent yet is superseded.
  std::erase_if(messages_, [](const Message& message) { return !message.preview; });
  messages_.push_back({job, running_->job.fence, nullptr});
  changed_.notify_all();
}

void RedisWorker::preview(int64_t index, int64_t step, std::shared_ptr<const std::string> png) {
  const Lock lock(mutex_);
  Job& job = running_->job.job;
  job.progress.picture = index;
  job.progress.step = step;
  if (messages_.size() >= kMostPreviews) return;
  messages_.push_back({job, running_->job.fence, std::move(png)});
  changed_.notify_all();
}

void RedisWorker::end_drawn(Lock& lock, const std::optional<JobError>& error) {
  const RedisJob& job = running_->job;
  const Why why = running_->why;
  std::optional<JobError> reason = error;
  JobState state = error ? JobState::kFailed : JobState::kDone;
  if (why == Why::kClient) {
    state = JobState::kCancelled;
    reason.reset();
  } else if (why == Why::kDeadline && error) {
    reason = JobError{"deadline", "it was not drawn within its deadline"};
  }
  const size_t pictures = job.job.pictures.size();
  std::optional<bool> told = false;
  std::string outcome = "was claimed by another";
  if (why == Why::kStop && error) {
    outcome = "given back";
    told = insist(lock, [&] { return jobs_.give_back(job.job.id, job.fence); });
  } else if (why != Why::kLost) {
    // Every preview and step before the end that they lead to.
    changed_.wait_for(lock, std::chrono::seconds(1),
                      [&] { return messages_.empty() && !sending_now_; });
    outcome = kJobStateNames[static_cast<size_t>(state)];
    told = insist(lock, [&] { return jobs_.end(job, state, reason); });
  }
  messages_.clear();
  if (!told) outcome = "dropped: Redis was away for longer than the lease";
  if (told == false && why != Why::kLost) outcome = "had ended, or was claimed by another";
  log(LogLevel::kInfo, "job {}: {}{}, {} picture{}", job.job.id, outcome,
      state == JobState::kFailed && told == true && reason ? ", " + reason->message : "", pictures,
      pictures == 1 ? "" : "s");
}

}  // namespace intaglio::server
