// How long a pass with streamed weights must take at least: its compute or its copies, whichever is
// longer.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/profile.h"
#include "core/status.h"

namespace intaglio::cli {

// Bytes a second of large copies from pinned host memory to the context's GPU, nothing else
// running: the median of some.
Expected<double> host_copy_rate(const Context& context);

struct StreamedPass {
  double compute_ms = 0.0, copy_ms = 0.0;
  double least_ms() const { return compute_ms > copy_ms ? compute_ms : copy_ms; }
};
// From the collected profile of a pass and what it copies: waits for weights are no compute.
StreamedPass streamed_pass(const Profile& profile, uint64_t bytes, double bytes_per_second);

}  // namespace intaglio::cli
