// The sizes of known models, for benchmarks and plans without their files.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/autoencoder/flux2_vae.h"
#include "models/ideogram4/config.h"

namespace intaglio {

TransformerConfig ideogram4_transformer_config();  // conditional and unconditional
TextEncoderConfig ideogram4_text_config();         // the language model of Qwen3-VL-8B
Flux2VaeConfig ideogram4_vae_config();

inline constexpr int64_t kIdeogram4PixelsPerToken = 16;

struct ModelSizes {
  TransformerConfig conditional, unconditional;
  TextEncoderConfig text;
  Flux2VaeConfig vae;
  int64_t default_side = 0, default_steps = 0;  // of pictures
};

// "ideogram4" as published, or "mini", the bundled model; nullopt for another name.
std::optional<ModelSizes> model_sizes(std::string_view name);
std::vector<std::string_view> model_size_names();

}  // namespace intaglio
