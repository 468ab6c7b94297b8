// Work that is the same each time. On a GPU it is recorded once as a graph and given to the device with one call from then on; on the CPU it just runs.
#pragma once

#include <functional>
#include <memory>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

class Recording {
 public:
  // `work` puts its work on the context's stream, with the same pointers each time; it neither allocates nor waits. What it refers to outlives the recording.
  explicit Recording(std::function<Status()> work) : work_(std::move(work)) {}

  // On a GPU the first call runs the work as it is, which loads kernels and asks libraries for their choices; the second records it.
  Status run(const Context& context);

 private:
  std::function<Status()> work_;
  bool has_run_ = false;
  std::shared_ptr<void> graph_;
};

}  // namespace intaglio
