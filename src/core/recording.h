// Work that is the same each time. On a GPU it is recorded once as a graph and given to the device
// with one call from then on; on the CPU it just runs.
#pragma once

#include <functional>
#include <memory>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// A recorded graph cannot be stopped: longer work is given to the device piece by piece each time
// (core/pace.h), which costs it nothing, since the device is busy for far longer than the host
// needs to give it the next piece.
inline constexpr double kMostRecordedMs = 200.0;

class Recording {
 public:
  // `work` puts its work on the context's stream, with the same pointers each time; it neither
  // allocates nor waits for all of it. What it refers to outlives the recording.
  explicit Recording(std::function<Status()> work) : work_(std::move(work)) {}

  // On a GPU the first call runs the work as it is, which loads kernels and asks libraries for
  // their choices; the first one after a call that took the device at most kMostRecordedMs records
  // it. The caller has waited for one call before the next.
  Status run(const Context& context);

 private:
  Status run_timed(const Context& context);

  std::function<Status()> work_;
  std::shared_ptr<void> begun_, ended_;  // events around the last call that ran the work itself
  std::shared_ptr<void> graph_;
};

}  // namespace intaglio
