#include "server/job_queue.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace intaglio::server {

void JobQueue::add(QueuedJob job) {
  const auto order = [](const QueuedJob& a, const QueuedJob& b) {
    return std::make_tuple(-a.priority, std::cref(a.id)) <
           std::make_tuple(-b.priority, std::cref(b.id));
  };
  jobs_.insert(std::upper_bound(jobs_.begin(), jobs_.end(), job, order), std::move(job));
}

QueuedJob JobQueue::take(const DrawKey& last, double now) {
  const QueuedJob& head = jobs_.front();
  // A job is never overtaken less often than one behind it: the head's bounds hold for all.
  const bool may_overtake =
      head.overtaken < kMostOvertaken &&
      (head.overtaken == 0 || now - head.overtaken_since < kMostOvertakenSeconds);
  auto chosen = jobs_.begin();
  if (may_overtake && head.key != last) {
    const auto end = std::find_if(jobs_.begin(), jobs_.end(), [&](const QueuedJob& job) {
      return job.priority != head.priority;
    });
    auto found =
        std::find_if(jobs_.begin(), end, [&](const QueuedJob& job) { return job.key == last; });
    if (found == end)
      found = std::find_if(jobs_.begin(), end,
                           [&](const QueuedJob& job) { return job.key.load == last.load; });
    if (found != end) chosen = found;
  }
  for (auto job = jobs_.begin(); job != chosen; ++job)
    if (job->overtaken++ == 0) job->overtaken_since = now;
  QueuedJob taken = std::move(*chosen);
  jobs_.erase(chosen);
  return taken;
}

bool JobQueue::remove(const std::string& id) {
  return std::erase_if(jobs_, [&](const QueuedJob& job) { return job.id == id; }) > 0;
}

int64_t JobQueue::position(const std::string& id) const {
  const auto found =
      std::find_if(jobs_.begin(), jobs_.end(), [&](const QueuedJob& job) { return job.id == id; });
  return found == jobs_.end() ? 0 : std::distance(jobs_.begin(), found) + 1;
}

int64_t JobQueue::first_position_of(const std::string& client) const {
  const auto found = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const QueuedJob& job) { return job.client == client; });
  return found == jobs_.end() ? 0 : std::distance(jobs_.begin(), found) + 1;
}

int64_t JobQueue::of_client(const std::string& client) const {
  return std::count_if(jobs_.begin(), jobs_.end(),
                       [&](const QueuedJob& job) { return job.client == client; });
}

}  // namespace intaglio::server
