#include "pipeline/finish_picture.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/finite.h"
#include "core/parallel.h"

namespace intaglio {

Expected<RgbImage> finish_picture(const Context& context, int64_t width, int64_t height,
                                  std::vector<float>& planar) {
  constexpr int64_t kPixelsAtOnce = 16384;
  const int64_t pixels = width * height;
  RgbImage image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<size_t>(3 * pixels));
  std::atomic<bool> finite{true};
  parallel_for(context.threads, pixels, kPixelsAtOnce, [&](int64_t begin, int64_t end, int) {
    uint32_t worst = 0;
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t p = begin; p < end; ++p) {
        float& value = planar[static_cast<size_t>(c * pixels + p)];
        worst = std::max(worst, magnitude_bits(value));
        value = value * 0.5f + 0.5f;
        // Comparisons that are false for a NaN.
        value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
        const float level = value >= 0.0f ? std::nearbyint(value * 255.0f) : 0.0f;
        image.pixels[static_cast<size_t>(3 * p + c)] = static_cast<uint8_t>(level);
      }
    }
    if (worst >= kNotFiniteBits) finite = false;
  });
  if (!finite)
    return make_error(ErrorCode::kUnsupported,
                      "the VAE computed values that are not finite (an Inf or a NaN); its weights "
                      "may hold one, or its numbers are too large");
  return image;
}

}  // namespace intaglio
