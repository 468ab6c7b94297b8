// What a picture will take, worked out from configs and tensor lists before any weight is read.
#pragma once

#include <cstdint>

#include "io/checkpoint.h"
#include "models/ideogram4/config.h"
#include "quant/precision.h"

namespace intaglio {

struct MemoryPlan {
  uint64_t text_weights =
      0;  // prepared copies; weights used in place in a mapped file cost nothing that cannot be given back
  uint64_t transformer_weights = 0;  // conditional and unconditional
  uint64_t vae_weights = 0;
  uint64_t text_buffers = 0;
  uint64_t transformer_buffers = 0;  // activations, session of each transformer, latents
  uint64_t vae_buffers = 0;

  // The text encoder's weights may be dropped once the features are made; the rest stays.
  uint64_t peak_bytes(bool drop_text) const;
};

// Bytes of the prepared weights of a checkpoint under a selection.
uint64_t prepared_weight_bytes(const Checkpoint& checkpoint, const LayerSelection& selection);

// Buffers of one forward pass and what its session owns. Sizes beyond 64 bits saturate.
uint64_t transformer_buffer_bytes(const TransformerConfig& config, DType dtype, double text_tokens,
                                  double image_tokens, double steps);
uint64_t text_buffer_bytes(const TextEncoderConfig& config, DType dtype, double tokens);

}  // namespace intaglio
