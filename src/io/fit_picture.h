// Pictures and masks brought to the size that is drawn: scaled until they cover it, what sticks out
// cut off evenly.
#pragma once

#include <cstdint>
#include <vector>

#include "io/png.h"

namespace intaglio {

// Lanczos of 3 lobes on the values as they are; one of that size is returned as it is. width and
// height from 1 on, an image of at least a pixel.
RgbImage fit_picture(const RgbImage& image, int64_t width, int64_t height);

// [height, width], by the nearest pixel: how bright it is, as ITU-R BT.601 weighs its colours.
std::vector<uint8_t> mask_of(const RgbImage& image, int64_t width, int64_t height);
// How transparent it is.
std::vector<uint8_t> mask_of_transparency(const RgbaImage& image, int64_t width, int64_t height);
// `mask` [height, width], softened by a Gaussian of that deviation in pixels.
void blur_mask(std::vector<uint8_t>& mask, int64_t width, int64_t height, double deviation);

}  // namespace intaglio
