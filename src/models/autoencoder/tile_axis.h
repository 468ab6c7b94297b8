// Where the tiles of a large picture lie, and how they are blended; inside this folder only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace intaglio::autoencoder {

// Tiles along one axis: equal sizes, evenly spaced, each pair of neighbours sharing at least a
// quarter of a tile.
struct TileAxis {
  int64_t size = 0, tile = 0, count = 1;

  TileAxis(int64_t total, int64_t limit) : size(total), tile(std::min(total, limit)) {
    if (tile < size) {
      const int64_t stride = std::max<int64_t>(1, tile - tile / 4);
      count = (size - tile + stride - 1) / stride + 1;
    }
  }
  int64_t start(int64_t i) const { return count == 1 ? 0 : (size - tile) * i / (count - 1); }

  // Share of tile i in each of its positions, in steps of a `scale`-th latent: ramps over a quarter
  // of a tile toward its neighbours, divided by the sum over the tiles that cover the position.
  std::vector<float> shares(int64_t i, int64_t scale) const {
    std::vector<float> result(static_cast<size_t>(tile * scale));
    for (int64_t p = 0; p < tile * scale; ++p) {
      const int64_t at = start(i) * scale + p;
      double sum = 0.0;
      for (int64_t j = 0; j < count; ++j) sum += ramp(j, at, scale);
      result[static_cast<size_t>(p)] = static_cast<float>(ramp(i, at, scale) / sum);
    }
    return result;
  }

 private:
  double ramp(int64_t i, int64_t at, int64_t scale) const {
    const int64_t first = start(i) * scale;
    if (at < first || at >= first + tile * scale) return 0.0;
    double height = static_cast<double>(std::max<int64_t>(1, tile / 4) * scale);
    if (i > 0) height = std::min(height, static_cast<double>(at - first) + 0.5);
    if (i + 1 < count)
      height = std::min(height, static_cast<double>(first + tile * scale - at) - 0.5);
    return height;
  }
};

}  // namespace intaglio::autoencoder
