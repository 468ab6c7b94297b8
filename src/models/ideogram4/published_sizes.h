// The sizes of the published Ideogram 4, for benchmarks and plans without its files.
#pragma once

#include "models/ideogram4/config.h"
#include "models/ideogram4/flux2_vae.h"

namespace intaglio {

TransformerConfig ideogram4_transformer_config();  // conditional and unconditional
TextEncoderConfig ideogram4_text_config();         // the language model of Qwen3-VL-8B
Flux2VaeConfig ideogram4_vae_config();

inline constexpr int64_t kIdeogram4PixelsPerToken = 16;

}  // namespace intaglio
