#include "bench/bench_memory.h"

#include <algorithm>
#include <numeric>

#include "core/memory_info.h"
#include "models/parts/weight_streaming.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"

namespace intaglio::cli {

Expected<TransformerBytes> transformer_bytes(const Context& context,
                                             const ideogram4::TransformerConfig& config,
                                             const ideogram4::Transformer::LoadOptions& options,
                                             int64_t text_tokens, int64_t grid_h, int64_t grid_w) {
  INTAGLIO_TRY(options.selection.check_device(context));
  ModelWeights weights = ideogram4::transformer_weights(config, options.selection, true);
  if (context.gpu == nullptr) weights = weights_on_cpu(std::move(weights));
  TransformerBytes bytes;
  bytes.weights =
      weights.fixed_bytes + weights.all_layers() + kStreamSlots * weights.largest_once();
  bytes.staging = weights.staging_bytes;
  INTAGLIO_ASSIGN(const ideogram4::Transformer planned,
                  ideogram4::Transformer::describe(context, config, options));
  const auto latents = static_cast<uint64_t>(grid_h * grid_w * config.channels) * sizeof(float);
  for (const int64_t tokens : {text_tokens, int64_t{0}}) {
    bytes.scratch = std::max<uint64_t>(bytes.scratch,
                                       planned.scratch_bytes(context, tokens, grid_h, grid_w, 1));
    bytes.sessions += planned.session_bytes(tokens, grid_h, grid_w, 1) + latents;
  }
  return bytes;
}

Status check_memory(const Context& context, const std::string& what, uint64_t bytes) {
  INTAGLIO_ASSIGN(const uint64_t available, available_device_bytes(context));
  if (bytes <= available) return {};
  return make_error(ErrorCode::kOutOfMemory,
                    "{}: needs {} of memory ({} bytes), {} ({} bytes) is available", what,
                    format_bytes(bytes), bytes, format_bytes(available), available);
}

}  // namespace intaglio::cli
