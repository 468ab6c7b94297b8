// The order in which blocks (or clusters) visit the tiles of a matrix product. Host and device; unit-tested on the CPU.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define INTAGLIO_HOST_DEVICE __host__ __device__
#else
#define INTAGLIO_HOST_DEVICE
#endif

namespace intaglio::cuda {

// Tiles are visited in bands of `band` rows of tiles; inside a band column by column. Blocks that run at the same time then share rows of A (a band) and a few columns
// of W, so that each operand comes from L2 more often than from memory.
struct TileRaster {
  int32_t rows, columns;  // tiles of the product
  int32_t band;           // >= 1

  struct Tile {
    int32_t row, column;
  };
  INTAGLIO_HOST_DEVICE int64_t count() const { return int64_t{rows} * columns; }
  INTAGLIO_HOST_DEVICE Tile at(int64_t index) const {
    const int64_t per_band = int64_t{band} * columns;
    const int32_t first = static_cast<int32_t>(index / per_band) * band;
    const int32_t inside = static_cast<int32_t>(index % per_band);
    const int32_t height = rows - first < band ? rows - first : band;
    return {first + inside % height, inside / height};
  }
};

}  // namespace intaglio::cuda
