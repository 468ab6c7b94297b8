// The memory that a benchmark of random weights takes, compared with what there is before it takes
// any.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/context.h"
#include "core/status.h"
#include "models/transformer.h"

namespace intaglio::cli {

struct TransformerBytes {
  uint64_t weights = 0;   // prepared, with the slots of a GPU
  uint64_t sessions = 0;  // of the passes, their latents and velocities
  uint64_t scratch = 0;
  uint64_t staging = 0;  // the largest tensor while it is made
};

// Of one transformer, as yet without weights, that runs passes of these sizes. kUnsupported where
// the device lacks the precision.
Expected<TransformerBytes> transformer_bytes(const Context& context, Transformer& transformer,
                                             std::span<const PassSize> passes);

// kOutOfMemory with both numbers if `what` takes more than `context`'s device has.
Status check_memory(const Context& context, const std::string& what, uint64_t bytes);

}  // namespace intaglio::cli
