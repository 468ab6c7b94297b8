// The latents of a picture that begins from another (models/init_picture.h), at every noise level.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/autoencoder/decoder.h"

namespace intaglio {

class InitLatents {
 public:
  struct Parts {
    std::vector<float> clean;  // of the given picture: [grid_h * grid_w, channels]
    std::vector<float> noise;  // the same shape
    // Of the latents, 1: drawn anew, 0: kept: [2 grid_h, 2 grid_w]; empty: all are drawn.
    std::vector<float> mask;
    int64_t grid_w = 0;  // tokens of a row
    autoencoder::LatentPacking packing = autoencoder::LatentPacking::kChannelFastest;
  };

  explicit InitLatents(Parts parts);

  bool is_masked() const { return !drawn_.empty(); }
  // level * noise + (1 - level) * clean.
  std::vector<float> at(double level) const;
  // Takes `at(level)` in the place of latents that the mask keeps.
  void keep_given(double level, std::span<float> latents) const;

 private:
  std::vector<float> clean_, noise_;
  std::vector<float> drawn_;  // the mask of each latent of each token
};

}  // namespace intaglio
