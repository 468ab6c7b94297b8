// Positions of the transformer's tokens.
#pragma once

#include <cstdint>

#include "models/ideogram4/config.h"

namespace intaglio::ideogram4 {

// Image tokens stand this far from text tokens on every axis (the published constant).
inline constexpr double kImagePositionOffset = 65536.0;

// Three-axis rope over text tokens, then the image grid in row-major order. cos, sin: [text +
// grid_h * grid_w, head_dim / 2].
void fill_image_rope(const TransformerConfig& config, int64_t text_tokens, int64_t grid_h,
                     int64_t grid_w, float* cos, float* sin);

}  // namespace intaglio::ideogram4
