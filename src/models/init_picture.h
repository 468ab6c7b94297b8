// What a picture begins from in place of noise alone: img2img, and with a mask inpainting.
#pragma once

#include <cstdint>
#include <vector>

#include "io/png.h"

namespace intaglio {

struct InitPicture {
  RgbImage image;             // of the request's width and height
  std::vector<uint8_t> mask;  // [height, width]: 255 is drawn anew, 0 is kept; empty: all is
  double strength = 0.6;      // in (0, 1]: the share of the steps that run, from noisy to clean
};

}  // namespace intaglio
