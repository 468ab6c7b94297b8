// From the decoder's numbers to a picture.
#pragma once

#include <cstdint>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "io/png.h"

namespace intaglio {

// planar: [3, height, width], about [-1, 1] -> mapped to [0, 1] and clamped, in place, and to 8
// bits in the picture. kUnsupported unless every value is finite: a NaN would be black and an Inf
// white, and nobody would know.
Expected<RgbImage> finish_picture(const Context& context, int64_t width, int64_t height,
                                  std::vector<float>& planar);

}  // namespace intaglio
