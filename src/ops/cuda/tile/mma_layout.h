// Which lane names and holds what, for ldmatrix and mma.sync. Host and device; checked on the CPU
// against the definitions in the PTX manual. g = lane / 4, t = lane % 4 everywhere.
#pragma once

#include "core/host_device.h"

namespace intaglio::cuda {

struct RowChunk {
  int row;    // row of the tile
  int chunk;  // 16-byte chunk of the k32 slice: 0 or 1
};

// ldmatrix.x4 of a 16 x 32 slice of A: its four registers are then a[0..3] of mma.m16n8k32.
INTAGLIO_HOST_DEVICE constexpr RowChunk a_fragment_source(int lane) {
  return {lane % 16, lane / 16};
}

// ldmatrix.x4 of 16 rows (columns of the product) x 32 of W: registers 0, 1 are b[0..1] of the
// first 8 columns, 2, 3 those of the next 8.
INTAGLIO_HOST_DEVICE constexpr RowChunk b_fragment_source(int lane) {
  return {lane % 8 + lane / 16 * 8, lane / 8 % 2};
}

// Rows accumulator_row and + 8, columns 8 j + accumulator_column and + 1: acc[j][0], [1] (row),
// acc[j][2], [3] (row + 8).
INTAGLIO_HOST_DEVICE constexpr int accumulator_row(int lane) { return lane / 4; }
INTAGLIO_HOST_DEVICE constexpr int accumulator_column(int lane) { return lane % 4 * 2; }

}  // namespace intaglio::cuda
