// The lower half of a latent's frequencies in each direction, and the way back: what a run at half
// size begins with and ends in (models/progressive.h has the formulas).
//
// Latents are [tokens, channels] as transformers have them, 2 x 2 latents of each plane packed to a
// token (autoencoder::packed_channel), and normalized: there noise is white, which the change of
// size rests on. They are planes of a picture there, too: what a decoder multiplies and adds by is
// nearly the same for the four places of a token (mini: within 3% of a channel's deviation).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/autoencoder/decoder.h"

namespace intaglio {

class HalfBand {
 public:
  // Of pictures of grid_h x grid_w tokens, both even; `channels` of a token, a multiple of 4. The
  // number of threads changes no bit.
  HalfBand(int64_t grid_h, int64_t grid_w, int64_t channels, autoencoder::LatentPacking packing,
           int threads);

  // low(x) of full-size latents: of a quarter of the tokens.
  std::vector<float> low(std::span<const float> latents) const;
  // low^T(y): full-size latents that have these, and nothing above.
  std::vector<float> raised(std::span<const float> half) const;
  // The full-size state at noise level `level` of the half-size one, with what the full-size noise
  // has above its lower half.
  std::vector<float> full_size(std::span<const float> half, std::span<const float> noise,
                               double level) const;

 private:
  // Row-major, and its transpose.
  struct Matrix {
    int64_t rows = 0, columns = 0;
    std::vector<float> values, transposed;
  };
  static Matrix half_band(int64_t size);
  // Of a plane.
  struct Side {
    int64_t height = 0, width = 0;
  };
  Side full() const { return {down_.columns, across_.columns}; }
  Side half() const { return {down_.rows, across_.rows}; }
  std::vector<float> change(std::span<const float> latents, const Side& from, const Side& to,
                            const std::vector<float>& rows,
                            const std::vector<float>& columns) const;

  int64_t channels_;
  autoencoder::LatentPacking packing_;
  int threads_;
  Matrix down_, across_;  // M(H), M(W)
};

}  // namespace intaglio
