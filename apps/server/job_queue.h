// Which of the jobs that wait is drawn next.
//
// Of higher priority before lower; among equals in the order of acceptance. But what is loaded, and
// recorded for one shape of picture, is dear to replace, so that among jobs of the priority at the
// head those of the shape at work go first, then others of the model at work. How long that may
// last is bounded: once kMostOvertaken jobs have gone before one that was accepted earlier, or
// kMostOvertakenSeconds after the first that did, nothing goes before it any more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace intaglio::server {

// What a job needs of what is there already.
struct DrawKey {
  std::string load;   // model and adapters
  std::string shape;  // of that, what is recorded or kept from picture to picture
  bool operator==(const DrawKey&) const = default;
};

struct QueuedJob {
  std::string id;  // in the order of acceptance
  std::string client;
  int priority = 0;
  DrawKey key;
  int overtaken = 0;           // jobs of its priority that went before it out of their turn
  double overtaken_since = 0;  // when the first did
};

class JobQueue {
 public:
  static constexpr int kMostOvertaken = 16;
  static constexpr double kMostOvertakenSeconds = 60;

  void add(QueuedJob job);
  // The next one, which leaves the queue; the queue is not empty. `last`: of the job before.
  // `now`: seconds of a clock that only goes on.
  QueuedJob take(const DrawKey& last, double now);
  bool remove(const std::string& id);

  // From 1 on, in the order without regard to what is loaded; 0: not in the queue.
  int64_t position(const std::string& id) const;
  // The first of a client's; 0: none.
  int64_t first_position_of(const std::string& client) const;
  int64_t of_client(const std::string& client) const;
  const std::vector<QueuedJob>& jobs() const { return jobs_; }  // in that order
  bool empty() const { return jobs_.empty(); }
  int64_t size() const { return static_cast<int64_t>(jobs_.size()); }

 private:
  std::vector<QueuedJob> jobs_;
};

}  // namespace intaglio::server
