// Tables of rotary position angles.
#pragma once

#include <cstdint>

#include "models/ideogram4/config.h"
#include "ops/attention.h"

namespace intaglio {

// Image tokens stand this far from text tokens on every axis (the published constant).
inline constexpr double kImagePositionOffset = 65536.0;

// Three-axis rope of the transformer over text tokens, then the image grid in row-major order. cos, sin: [text + grid_h * grid_w, head_dim / 2].
// Angles are formed in float64: near 65536 float32 has a step of 0.008, which would be the largest error of the whole model.
void fill_image_rope(const TransformerConfig& config, int64_t text_tokens, int64_t grid_h,
                     int64_t grid_w, float* cos, float* sin);

// Plain rope at positions 0 .. tokens - 1.
void fill_text_rope(const TextEncoderConfig& config, int64_t tokens, float* cos, float* sin);

}  // namespace intaglio
