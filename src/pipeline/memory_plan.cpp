#include "pipeline/memory_plan.h"

#include <algorithm>
#include <limits>

namespace intaglio {
namespace {

uint64_t saturate(double bytes) {
  return bytes >= 1.8e19 ? std::numeric_limits<uint64_t>::max()
                         : static_cast<uint64_t>(std::max(bytes, 0.0));
}

uint64_t add(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max()
                                                      : a + b;
}

double prepared_element_bytes(LinearKind kind) {
  switch (kind) {
    case LinearKind::kF32:
      return 4.0;
    case LinearKind::kBF16:
      return 2.0;
    case LinearKind::kS8:
    case LinearKind::kS8Dequant:
      return 1.0;
  }
  return 4.0;
}

}  // namespace

uint64_t MemoryPlan::peak_bytes(bool drop_text) const {
  const uint64_t text_phase = add(text_weights, text_buffers);
  const uint64_t kept = drop_text ? 0 : text_weights;
  const uint64_t denoise_phase = add(add(kept, transformer_weights), transformer_buffers);
  const uint64_t decode_phase = add(add(add(kept, transformer_weights), vae_weights), vae_buffers);
  return std::max({text_phase, denoise_phase, decode_phase});
}

uint64_t prepared_weight_bytes(const Checkpoint& checkpoint, const LayerSelection& selection) {
  constexpr std::string_view kWeight = ".weight";
  double bytes = 0.0;
  for (const TensorEntry* entry : checkpoint.tensors()) {
    const std::string_view name = entry->name;
    if (entry->view.shape.rank != 2 || !name.ends_with(kWeight) ||
        name.find("embed_tokens") != std::string_view::npos || name.starts_with("visual.") ||
        name.starts_with("model.visual.")) {
      continue;  // vectors are small, embeddings are read in place, the vision tower is never read
    }
    const LinearKind kind = selection.kind_of(name.substr(0, name.size() - kWeight.size()));
    bytes += static_cast<double>(entry->view.shape.count()) * prepared_element_bytes(kind);
  }
  return saturate(bytes);
}

uint64_t transformer_buffer_bytes(const TransformerConfig& c, DType dtype, double text_tokens,
                                  double image_tokens, double steps) {
  const double tokens = text_tokens + image_tokens;
  const auto width = static_cast<double>(c.width());
  const auto hidden = static_cast<double>(c.intermediate);
  const auto element = static_cast<double>(dtype_size(dtype));
  const double activations =
      tokens * (4.0 * (width + 1.0) +
                element * (std::max(width, hidden) + std::max(3.0 * width, hidden) + width));
  const double packed_kv = 2.0 * tokens * width * element;  // attention packs keys and values once
  const double session = 4.0 * (text_tokens * width + tokens * static_cast<double>(c.head_dim) +
                                (4.0 * static_cast<double>(c.layers) + 1.0) * steps * width);
  const double latents = 4.0 * 4.0 * image_tokens * static_cast<double>(c.channels);
  return saturate(activations + packed_kv + 2.0 * session + latents);
}

uint64_t text_buffer_bytes(const TextEncoderConfig& c, DType dtype, double tokens) {
  const auto hidden = static_cast<double>(c.hidden);
  const auto row = static_cast<double>((c.heads + 2 * c.kv_heads) * c.head_dim);
  const auto wide = std::max(row, static_cast<double>(c.intermediate));
  return saturate(tokens *
                  (4.0 * hidden + static_cast<double>(dtype_size(dtype)) * (2.0 * wide + hidden) +
                   4.0 * static_cast<double>(c.feature_dim())));
}

}  // namespace intaglio
