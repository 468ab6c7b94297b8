// From the decoder's numbers to a picture.
#pragma once

#include <cstdint>
#include <vector>

#include "core/context.h"
#include "io/png.h"

namespace intaglio {

// planar: [3, height, width], about [-1, 1] -> mapped to [0, 1] and clamped, in place (a NaN stays, to be seen by verify), and to 8 bits in the
// picture, where a NaN is black.
RgbImage finish_picture(const Context& context, int64_t width, int64_t height,
                        std::vector<float>& planar);

}  // namespace intaglio
