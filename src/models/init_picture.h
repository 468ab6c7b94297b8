// What a picture begins from in place of noise alone: img2img, and with a mask inpainting.
//
// Let x0 be the latents of the given picture, n the noise, and s the noise level of the first step
// that runs. The picture begins with s n + (1 - s) x0. After each step, latents that the mask keeps
// are those of the given picture at the level that the step leads to, s' n + (1 - s') x0; after the
// last one s' is 0.
#pragma once

#include <cstdint>
#include <vector>

#include "core/status.h"
#include "io/png.h"

namespace intaglio {

struct Sampling;

struct InitPicture {
  RgbImage image;             // of the request's width and height
  std::vector<uint8_t> mask;  // [height, width]: 255 is drawn anew, 0 is kept; empty: all is
  double strength = 0.6;      // in (0, 1]: the share of the steps that run, from noisy to clean
};

// kInvalidArgument, starting with "init picture", "mask" or "strength", unless it fits a picture of
// that size.
Status check_init_picture(const InitPicture& init, int64_t width, int64_t height);

// First steps of a picture of `steps` steps that do not run: at least the last one does.
int64_t skipped_steps(double strength, int64_t steps);

// Takes the first `count` steps away. A pass of the mask is computed in the first step left.
void skip_steps(int64_t count, Sampling& sampling);

// [height / side, width / side]: the mean over squares of `side` pixels, 0 to 1; empty for no mask.
std::vector<float> mean_mask(const InitPicture& init, int64_t side);

// The given pixels where the mask keeps them: to the bit where it is 0, in between a blend. `image`
// is of the same size, planar: [3, height, width] in [0, 1].
void keep_given_pixels(const InitPicture& init, RgbImage& image, std::vector<float>& planar);

}  // namespace intaglio
