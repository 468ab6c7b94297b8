#include "server/clock.h"

#include <algorithm>
#include <chrono>

namespace intaglio::server {
namespace {

constexpr double kLongestWait = 3600;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

class SystemClock final : public Clock {
 public:
  double utc() const override {
    return seconds(std::chrono::system_clock::now().time_since_epoch());
  }
  double steady() const override {
    return seconds(std::chrono::steady_clock::now().time_since_epoch());
  }
  void wait(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
            double until) const override {
    const double left = std::clamp(until - steady(), 0.0, kLongestWait);
    changed.wait_for(lock, std::chrono::duration<double>(left));
  }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace intaglio::server
