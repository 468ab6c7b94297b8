// From a picture to what a tower reads: resized, cut to its middle, normalized.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/status.h"
#include "io/png.h"

namespace intaglio::towers {

// Pillow's Image.resize(..., BICUBIC), value by value: a cubic of a = -0.5 that widens with the
// reduction, rows first, weights of 22 bits after the point, 8-bit values between the two passes.
// Sides from 1 on.
RgbImage resize_bicubic(const RgbImage& image, int64_t width, int64_t height);

// Planes [3, height, width].
struct Pixels {
  int64_t height = 0, width = 0;
  std::vector<float> values;
};

// How the middle of an odd remainder is rounded.
enum class CropRule {
  kFloor,     // transformers' CLIPImageProcessor
  kHalfEven,  // torchvision's CenterCrop
};

struct PictureRule {
  int64_t shortest = 224;  // the shorter side after resizing; the longer one is rounded down
  int64_t crop = 224;      // both sides in the end, at most `shortest`
  CropRule rule = CropRule::kFloor;
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};  // of values in [0, 1]
  std::array<double, 3> deviation{0.26862954, 0.26130258, 0.27577711};
};

// (picture / 255 - mean) / deviation, [3, crop, crop].
Pixels tower_input(const RgbImage& picture, const PictureRule& rule);

}  // namespace intaglio::towers
