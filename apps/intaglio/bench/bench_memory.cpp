#include "bench/bench_memory.h"

#include <algorithm>
#include <numeric>

#include "core/memory_info.h"
#include "models/parts/weight_streaming.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"

namespace intaglio::cli {

Expected<TransformerBytes> transformer_bytes(const Context& context, Transformer& transformer,
                                             std::span<const PassSize> passes) {
  INTAGLIO_TRY(transformer.selection().check_device(context));
  ModelWeights weights = transformer.module_weights();
  if (context.gpu == nullptr) weights = weights_on_cpu(std::move(weights));
  TransformerBytes bytes;
  bytes.weights =
      weights.fixed_bytes + weights.all_layers() + kStreamSlots * weights.largest_once();
  bytes.staging = weights.staging_bytes;
  INTAGLIO_TRY(transformer.describe(context));
  for (const PassSize& size : passes) {
    const auto latents = static_cast<uint64_t>(size.image_tokens() * transformer.channels());
    bytes.scratch = std::max<uint64_t>(bytes.scratch, transformer.scratch_bytes(context, size, 1));
    bytes.sessions += transformer.session_bytes(size, 1) + latents * sizeof(float);
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
