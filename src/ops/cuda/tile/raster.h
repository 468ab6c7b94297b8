// The order in which output tiles are computed. Host and device; checked on the CPU.
//
// Tiles that run at the same time share operands through L2 when they form a block close to a
// square in bytes. The columns of tiles are cut into groups of `group_n`; a group is walked row by
// row:
//
//        group 0      group 1        group_n = 3
//      0   1   2  | 12  13  14
//      3   4   5  | 15  16  17
//      ...
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio::cuda {

struct TileCoord {
  int m, n;  // tile indices
};

INTAGLIO_HOST_DEVICE constexpr TileCoord raster_tile(int index, int tiles_m, int tiles_n,
                                                     int group_n) {
  const int per_group = tiles_m * group_n;
  const int first_n = index / per_group * group_n;
  const int left = tiles_n - first_n;
  const int width = left < group_n ? left : group_n;
  const int in_group = index % per_group;
  return {in_group / width, first_n + in_group % width};
}

// The group width that makes `resident` tiles, all those in flight, as square as it gets.
constexpr int raster_group(int resident, int tile_m, int tile_n, int tiles_n) {
  int width = 1;
  while (width < tiles_n &&
         int64_t{width + 1} * (width + 1) * tile_n <= int64_t{resident} * tile_m) {
    ++width;
  }
  return width;
}

}  // namespace intaglio::cuda
