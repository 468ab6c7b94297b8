// What latents will look like, without the decoder: a linear map from the channels of a token to
// the mean colours of 4 x 4 places of it, fitted to pictures that were decoded.
//
// The map M of [1, channels] to [16 places, 3] is the least-squares solution over all tokens seen,
// with a little of ridge regression, (A^T A + r I) M = A^T B, so that few tokens suffice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/status.h"
#include "io/png.h"

namespace intaglio {

struct Picture;

class LatentPreview {
 public:
  static constexpr int64_t kPlaces = 4;  // pixels of a preview along a token's side

  // Adds a picture of grid_h x grid_w tokens. Beyond kMostTokens in all it is passed over.
  void learn(const Picture& picture, int64_t grid_h, int64_t grid_w);
  bool ready() const { return !map_.empty(); }
  // latents: [grid_h * grid_w, channels], as those it was fitted to. kShapeMismatch otherwise.
  Expected<RgbImage> draw(std::span<const float> latents, int64_t grid_h, int64_t grid_w) const;

 private:
  static constexpr int64_t kMostTokens = 8192;
  static constexpr int64_t kTokensOfPicture = 1024;  // spread over it
  static constexpr int64_t kOutputs = kPlaces * kPlaces * 3;
  void fit();

  int64_t channels_ = 0, tokens_ = 0;
  std::vector<double> products_;  // A^T A, [1 + channels, 1 + channels]
  std::vector<double> targets_;   // A^T B, [1 + channels, kOutputs]
  std::vector<float> map_;        // [1 + channels, kOutputs]
};

}  // namespace intaglio
