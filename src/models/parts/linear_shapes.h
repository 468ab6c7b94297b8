// The large linears of diffusion transformers, as matrix products: what to tune and to time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"
#include "models/parts/modules.h"
#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio {

// Of models that this engine tunes for but does not draw with: from transformer/config.json of the
// diffusers layout (FLUX.2-dev). Linears that share their input count as one product, a gated
// feed-forward's first two as one with SwiGLU. Left out: what runs once a picture on few rows, and
// text encoders; both stay bf16. Errors: kUnsupported for another _class_name, kBadFormat for sizes
// that are missing or out of range.
Expected<std::vector<ListedLinear>> transformer_linears(const JsonConfig& config);

// The public config of "flux2", as far as transformer_linears reads it.
std::optional<std::string_view> public_transformer_config(std::string_view name);
std::vector<std::string> public_transformer_names();

struct TokenCounts {
  int64_t image = 4096;  // width / 16 * height / 16
  int64_t first_text = 16, last_text = 512;
  bool image_alone = false;  // an unconditional pass without text
};

struct NamedShape {
  std::string name;
  cuda::S8GemmShape shape;  // m is a bucket; bf16 output
};

// The linears at every bucket of rows that these tokens can make; no shape twice.
std::vector<NamedShape> bucketed_shapes(const std::vector<ListedLinear>& linears,
                                        const TokenCounts& tokens);

}  // namespace intaglio
