// The work items of a persistent kernel whose clusters each compute a tile: tiles of the output, or
// pieces of k of them. Host and device; checked on the CPU.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "ops/cuda/tile/raster.h"

namespace intaglio::cuda {

struct ClusterSchedule {
  int32_t rows, columns;     // tiles of clusters
  int32_t splits;            // of k
  int32_t k_tiles;           // of the whole product
  int32_t k_tiles_of_split;  // of all splits but the last, which may have fewer
  // Rows in a band of the raster: a band is walked column by column, so that what runs at once
  // shares A within a band and few columns of W.
  int32_t band;

  struct Item {
    int32_t row, column, split;
    int32_t k_begin, k_end;  // k tiles
  };

  INTAGLIO_HOST_DEVICE constexpr int32_t count() const { return rows * columns * splits; }

  INTAGLIO_HOST_DEVICE constexpr Item at(int32_t index) const {
    const int32_t split = index / (rows * columns);
    const TileCoord turned = raster_tile(index - split * rows * columns, columns, rows, band);
    const int32_t k_begin = split * k_tiles_of_split, k_end = k_begin + k_tiles_of_split;
    return {turned.n, turned.m, split, k_begin, k_end < k_tiles ? k_end : k_tiles};
  }
};

}  // namespace intaglio::cuda
