#include "models/ideogram4/rope.h"

#include <array>

#include "models/parts/rope.h"

namespace intaglio::ideogram4 {

void fill_image_rope(const TransformerConfig& config, int64_t text_tokens, int64_t grid_h,
                     int64_t grid_w, float* cos, float* sin) {
  const RopeFrequencies rope =
      interleaved_rope(config.rope_theta, config.head_dim, config.mrope_section);
  const auto write_row = [&](const std::array<double, 3>& position) {
    write_rope_row(rope, position, cos, sin);
  };
  for (int64_t i = 0; i < text_tokens; ++i) {
    const auto position = static_cast<double>(i);
    write_row({position, position, position});
  }
  for (int64_t y = 0; y < grid_h; ++y) {
    for (int64_t x = 0; x < grid_w; ++x) {
      write_row({kImagePositionOffset, kImagePositionOffset + static_cast<double>(y),
                 kImagePositionOffset + static_cast<double>(x)});
    }
  }
}

}  // namespace intaglio::ideogram4
