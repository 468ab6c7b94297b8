// Time, so that tests may make it.
#pragma once

#include <condition_variable>
#include <mutex>

namespace intaglio::server {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual double utc() const = 0;     // seconds since 1970; may jump
  virtual double steady() const = 0;  // seconds; only goes on
  // Until `changed` is notified or steady() has reached `until`, or sooner; `lock` is held before
  // and after.
  virtual void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                    double until) const = 0;
};

// The system's.
const Clock& system_clock();

}  // namespace intaglio::server
