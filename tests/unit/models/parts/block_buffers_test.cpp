// Where a part's buffers begin in those of the whole sequence.
#include "models/parts/block_buffers.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "core/arena.h"

namespace intaglio {
namespace {

// cuBLASLt takes scales of rows at multiples of 16 bytes alone, and a prompt may have any length.
TEST(BlockBuffers, ScalesOfAPartAreAligned) {
  const BlockSizes sizes{
      .tokens = 21, .width = 16, .input_cols = 32, .wide_cols = 48, .dtype = DType::kBF16};
  Arena arena = Arena::with_capacity(block_buffer_bytes(sizes)).value();
  const BlockBuffers all = take_block_buffers(arena, sizes).value();
  const float* const end = reinterpret_cast<const float*>(all.wide);
  for (int64_t text = 0; text <= sizes.tokens; ++text) {
    const BlockBuffers first = rows_of(all, sizes, 0, text);
    const BlockBuffers second = rows_of(all, sizes, text, sizes.tokens - text);
    EXPECT_EQ(first.scale_row, all.scale_row);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(second.scale_row) % 16, 0u) << text;
    EXPECT_GE(second.scale_row, first.scale_row + text) << text;
    EXPECT_LE(second.scale_row + second.tokens, end) << text;
    EXPECT_EQ(second.h, all.h + text * sizes.width) << text;
  }
}

}  // namespace
}  // namespace intaglio
