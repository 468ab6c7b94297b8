// Where a 16-byte chunk of an int8 tile lies in shared memory. Host and device; checked on the CPU.
//
// A tile is rows x kTileK bytes. Shared memory has 32 banks of 4 bytes, so one pass serves 8 chunks
// that lie in different 16-byte columns of the 128-byte lines. Unswizzled, the 8 rows that ldmatrix
// reads at one chunk column meet in one or a few columns: a conflict of 4 or 8. The chunk index is
// therefore XORed with a number made of the row, chosen so that any 8 consecutive rows (from a
// multiple of 8) at one chunk column, and any 128 consecutive bytes of a row-major copy, touch 8
// different columns.
//
//   kTileK 128: one row is a line           chunk ^ (row % 8)
//   kTileK  64: two rows share a line       chunk ^ (row / 2 % 4)
//   kTileK  32: four rows share a line      chunk ^ (row / 4 % 2)
// The pattern repeats every 8 rows: rows 8 apart differ by a constant, so a thread swizzles once
// and then adds.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio::cuda {

inline constexpr int kChunkBytes = 16;
inline constexpr int kBankLineBytes = 128;

template <int kTileK>
struct Swizzle {
  static_assert(kTileK == 32 || kTileK == 64 || kTileK == 128);
  static constexpr int kChunks = kTileK / kChunkBytes;
  static constexpr int kRowsPerLine = kBankLineBytes / kTileK;

  INTAGLIO_HOST_DEVICE static constexpr int mask_of_row(int row) {
    return row / kRowsPerLine % kChunks;
  }

  // Byte offset of chunk `chunk` (0 to kChunks - 1) of row `row` in the tile.
  INTAGLIO_HOST_DEVICE static constexpr uint32_t offset(int row, int chunk) {
    return static_cast<uint32_t>(row * kTileK + (chunk ^ mask_of_row(row)) * kChunkBytes);
  }

  // From the offset of chunk c (c < 2) to that of chunk c + 2 * pair of the same row. XOR and not
  // addition, because the chunk is XORed already; right because c has no bit but the lowest.
  INTAGLIO_HOST_DEVICE static constexpr uint32_t at_chunk_pair(uint32_t offset, int pair) {
    return offset ^ static_cast<uint32_t>(pair * 2 * kChunkBytes);
  }
};

}  // namespace intaglio::cuda
