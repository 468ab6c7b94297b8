// The memory that a benchmark of random weights takes, compared with what there is before it takes any.
#pragma once

#include <cstdint>
#include <string>

#include "core/context.h"
#include "core/status.h"
#include "models/ideogram4/transformer.h"

namespace intaglio::cli {

struct TransformerBytes {
  uint64_t weights = 0;   // prepared, with the slots of a GPU
  uint64_t sessions = 0;  // of the passes with and without text, their latents and velocities
  uint64_t scratch = 0;
  uint64_t staging = 0;  // the largest tensor while it is made
};

// Of one transformer that runs both kinds of pass. kUnsupported where the device lacks the precision.
Expected<TransformerBytes> transformer_bytes(const Context& context,
                                             const ideogram4::TransformerConfig& config,
                                             const ideogram4::Transformer::LoadOptions& options,
                                             int64_t text_tokens, int64_t grid_h, int64_t grid_w);

// kOutOfMemory with both numbers if `what` takes more than `context`'s device has.
Status check_memory(const Context& context, const std::string& what, uint64_t bytes);

}  // namespace intaglio::cli
