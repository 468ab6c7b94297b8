// The sizes of known models, for benchmarks and plans without their files.
#pragma once

#include <optional>
#include <string_view>

#include "models/autoencoder/decoder.h"
#include "models/ideogram4/config.h"
#include "models/qwen3/config.h"

namespace intaglio::ideogram4 {

TransformerConfig transformer_config();  // conditional and unconditional
qwen3::TextEncoderConfig text_config();  // the language model of Qwen3-VL-8B

inline constexpr int64_t kPixelsPerToken = 16;

struct ModelSizes {
  TransformerConfig conditional;
  std::optional<TransformerConfig> unconditional;
  qwen3::TextEncoderConfig text;
  autoencoder::DecoderConfig vae;
  int64_t default_side = 0, default_steps = 0;  // of pictures
};

// "ideogram4" as published, "ideogram4-instant" without its unconditional transformer, or "mini",
// the bundled model; nullopt for another name.
std::optional<ModelSizes> model_sizes(std::string_view name);

}  // namespace intaglio::ideogram4
