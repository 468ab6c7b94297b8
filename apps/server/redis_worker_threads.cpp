// Beside the thread that draws: one keeps the lease, one tells of progress.
#include <algorithm>
#include <limits>

#include "server/clock.h"
#include "server/redis_worker.h"

namespace intaglio::server {
namespace {

constexpr double kLookSeconds = 1;  // between what it says of itself, and looks at others' leases
constexpr int64_t kAnnounced = 5;   // seconds for which it counts as there

double steady() { return system_clock().steady(); }

}  // namespace

void RedisWorker::announce() const {
  WorkerState state{.name = parts_.name,
                    .device = parts_.drawer->device(),
                    .models = {},
                    .device_bytes = parts_.drawer->device_bytes()};
  for (const ServedModel& model : parts_.drawer->models())
    state.models.push_back({model.name, model.precision, model.loaded});
  static_cast<void>(jobs_.announce(state, kAnnounced));
}

void RedisWorker::keep() {
  double next_look = 0;
  Lock lock(mutex_);
  while (!ended_) {
    if (running_ && running_->why != Why::kLost) {
      const double now = steady();
      if (now >= running_->deadline) {
        interrupt(Why::kDeadline);
        running_->deadline = std::numeric_limits<double>::infinity();
      }
      if (now >= running_->renew_at) renew(lock);
    }
    if (steady() >= next_look) {
      look_after(lock);
      next_look = steady() + kLookSeconds;
    }
    double next = next_look;
    if (running_ && running_->why != Why::kLost)
      next = std::min({next, running_->deadline, running_->renew_at});
    const double wait = std::clamp(next - steady(), 0.001, kLookSeconds);
    if (!ended_) changed_.wait_for(lock, std::chrono::duration<double>(wait));
  }
}

void RedisWorker::renew(Lock& lock) {
  const std::string id = running_->job.job.id;
  const int64_t fence = running_->job.fence;
  const double asked = steady();
  running_->renew_at = asked + lease_seconds() / 3;
  lock.unlock();
  const auto lease = jobs_.renew(parts_.name, id, fence);
  lock.lock();
  if (!running_ || running_->job.job.id != id || running_->job.fence != fence) return;
  if (!lease) {
    // Sooner than after another third.
    running_->renew_at = steady() + lease_seconds() / 20;
    return;
  }
  if (*lease != RedisJobs::Lease::kLost) running_->leased_until = asked + lease_seconds();
  if (*lease == RedisJobs::Lease::kLost) interrupt(Why::kLost);
  if (*lease == RedisJobs::Lease::kCancelled) interrupt(Why::kClient);
  if (*lease == RedisJobs::Lease::kLate) interrupt(Why::kDeadline);
}

void RedisWorker::look_after(Lock& lock) {
  lock.unlock();
  announce();
  // Leases ran on while Redis was away: whoever draws gets the time of one to say so.
  const bool renewed = parts_.client->reached_for() > lease_seconds();
  static_cast<void>(jobs_.sweep(renewed ? std::optional(parts_.lease) : std::nullopt));
  lock.lock();
}

void RedisWorker::send() {
  Lock lock(mutex_);
  while (!ended_) {
    changed_.wait(lock, [&] { return ended_ || !messages_.empty(); });
    if (messages_.empty()) continue;
    const Message message = std::move(messages_.front());
    messages_.pop_front();
    sending_now_ = true;
    lock.unlock();
    // What is lost here the next makes good.
    static_cast<void>(message.preview
                          ? jobs_.tell_preview(message.job, message.fence, *message.preview)
                          : jobs_.tell_progress(message.job, message.fence));
    lock.lock();
    sending_now_ = false;
    if (messages_.empty()) changed_.notify_all();
  }
}

void RedisWorker::hear(const RedisEvent& event) {
  const Lock lock(mutex_);
  if (event.kind == RedisEvent::Kind::kCancel && running_ &&
      running_->job.job.id == event.job.job.id && running_->job.fence == event.job.fence)
    interrupt(Why::kClient);
  if (event.kind == RedisEvent::Kind::kState && event.job.job.state == JobState::kQueued) ++wakes_;
  changed_.notify_all();
}

}  // namespace intaglio::server
