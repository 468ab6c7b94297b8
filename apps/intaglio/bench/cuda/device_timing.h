// Times of work on a GPU by events, candidates in turn.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/status.h"

namespace intaglio::cli {

struct DeviceCandidate {
  std::string name;
  std::function<Status()> launch;  // on the default stream, without waiting
  std::vector<double> times_ms;    // of one launch, one a round
};

// In each round every candidate runs once untimed, then a timed burst: all see the same clocks, and
// what the L2 holds at a burst's begin is its own work. A burst takes at least 4 launches and about
// 2 ms. kCancelled between bursts if the user interrupts.
Status time_interleaved(std::vector<DeviceCandidate>& candidates, int rounds);

}  // namespace intaglio::cli
