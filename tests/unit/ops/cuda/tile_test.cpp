// The index arithmetic of the CUDA kernels, on the CPU: swizzle, fragment layouts, raster, split of
// k.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "ops/cuda/tile/cluster_schedule.h"
#include "ops/cuda/tile/mma_layout.h"
#include "ops/cuda/tile/raster.h"
#include "ops/cuda/tile/split_k.h"
#include "ops/cuda/tile/swizzle.h"

namespace intaglio::cuda {
namespace {

// The 16-byte column of a 128-byte line: two chunks in one column cannot be served in one pass.
int bank_column(uint32_t offset) { return static_cast<int>(offset / 16 % 8); }

template <typename T>
class SwizzleTest : public testing::Test {};
using TileKs = testing::Types<Swizzle<32>, Swizzle<64>, Swizzle<128>>;
TYPED_TEST_SUITE(SwizzleTest, TileKs);

TYPED_TEST(SwizzleTest, IsAPermutationOfTheChunks) {
  std::set<uint32_t> seen;
  for (int row = 0; row < 64; ++row) {
    for (int chunk = 0; chunk < TypeParam::kChunks; ++chunk) {
      const uint32_t offset = TypeParam::offset(row, chunk);
      EXPECT_EQ(offset % 16, 0u);
      EXPECT_LT(offset, static_cast<uint32_t>(64 * TypeParam::kChunks * 16));
      EXPECT_TRUE(seen.insert(offset).second);
    }
  }
}

TYPED_TEST(SwizzleTest, RepeatsEveryEightRows) {
  constexpr uint32_t kEightRows = 8 * TypeParam::kChunks * 16;
  for (int row = 0; row < 56; ++row) {
    for (int chunk = 0; chunk < TypeParam::kChunks; ++chunk) {
      EXPECT_EQ(TypeParam::offset(row + 8, chunk), TypeParam::offset(row, chunk) + kEightRows);
    }
  }
}

TYPED_TEST(SwizzleTest, ChunkPairsAreAnXorAway) {
  for (int row = 0; row < 16; ++row) {
    for (int chunk = 0; chunk < 2; ++chunk) {
      for (int pair = 0; pair < TypeParam::kChunks / 2; ++pair) {
        // Slots begin at multiples of 128 bytes: any such base must leave it right.
        for (const uint32_t base : {0u, 1024u, 7u * 128u}) {
          EXPECT_EQ(TypeParam::at_chunk_pair(base + TypeParam::offset(row, chunk), pair),
                    base + TypeParam::offset(row, chunk + 2 * pair));
        }
      }
    }
  }
}

// ldmatrix reads four matrices in four passes of eight lanes.
TYPED_TEST(SwizzleTest, LdmatrixPassesAreFreeOfConflicts) {
  for (const auto source : {a_fragment_source, b_fragment_source}) {
    for (int row0 = 0; row0 < 64; row0 += 16) {
      for (int pair = 0; pair < TypeParam::kChunks / 2; ++pair) {
        for (int pass = 0; pass < 4; ++pass) {
          std::set<int> columns;
          for (int lane = 8 * pass; lane < 8 * pass + 8; ++lane) {
            const RowChunk at = source(lane);
            columns.insert(bank_column(TypeParam::offset(row0 + at.row, at.chunk + 2 * pair)));
          }
          EXPECT_EQ(columns.size(), 8u);
        }
      }
    }
  }
}

// Copies write 16 bytes a thread, eight threads a pass, threads along rows.
TYPED_TEST(SwizzleTest, CopyPassesAreFreeOfConflicts) {
  for (int first = 0; first < 256; first += 8) {
    std::set<int> columns;
    for (int thread = first; thread < first + 8; ++thread) {
      columns.insert(
          bank_column(TypeParam::offset(thread / TypeParam::kChunks, thread % TypeParam::kChunks)));
    }
    EXPECT_EQ(columns.size(), 8u);
  }
}

// A 16 x 16 x 32 product through the lanes: ldmatrix by its definition from where the layout
// functions point, the product by the PTX manual's fragment tables, results read back through
// accumulator_row and accumulator_column.
TEST(MmaLayoutTest, FragmentsMakeTheProduct) {
  using Sw = Swizzle<64>;
  constexpr int kRows = 16, kK = 64;
  std::mt19937 random(1);
  std::vector<int8_t> a(kRows * kK), w(kRows * kK), a_smem(a.size()), w_smem(w.size());
  for (int8_t& x : a) x = static_cast<int8_t>(random());
  for (int8_t& x : w) x = static_cast<int8_t>(random());
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kK; ++k) {
      a_smem[Sw::offset(row, k / 16) + k % 16] = a[row * kK + k];
      w_smem[Sw::offset(row, k / 16) + k % 16] = w[row * kK + k];
    }
  }
  using Registers = std::array<std::array<int8_t, 4>, 4>;  // four of four bytes
  const auto ldmatrix = [](const std::vector<int8_t>& smem, auto source, int pair) {
    std::array<Registers, 32> lanes{};
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const RowChunk at = source(matrix * 8 + lane / 4);
        for (int byte = 0; byte < 4; ++byte) {
          lanes[lane][matrix][byte] =
              smem[Sw::at_chunk_pair(Sw::offset(at.row, at.chunk), pair) + 4 * (lane % 4) + byte];
        }
      }
    }
    return lanes;
  };
  int32_t sums[kRows][16] = {};
  for (int pair = 0; pair < kK / 32; ++pair) {
    const auto fa = ldmatrix(a_smem, a_fragment_source, pair);
    const auto fb = ldmatrix(w_smem, b_fragment_source, pair);
    for (int lane = 0; lane < 32; ++lane) {
      for (int j = 0; j < 2; ++j) {
        for (int e = 0; e < 4; ++e) {
          const int row = accumulator_row(lane) + 8 * (e / 2);
          const int col = accumulator_column(lane) + e % 2;
          int32_t sum = 0;
          for (int k = 0; k < 32; ++k) {
            const int a_lane = row % 8 * 4 + k % 16 / 4, b_lane = col * 4 + k % 16 / 4;
            sum += fa[a_lane][row / 8 + k / 16 * 2][k % 4] * fb[b_lane][2 * j + k / 16][k % 4];
          }
          sums[row][8 * j + col] += sum;
        }
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int col = 0; col < 16; ++col) {
      int32_t want = 0;
      for (int k = 0; k < kK; ++k) want += a[row * kK + k] * w[col * kK + k];
      EXPECT_EQ(sums[row][col], want) << row << ", " << col;
    }
  }
}

TEST(MmaLayoutTest, AccumulatorsCoverTheBlockOnce) {
  std::set<std::pair<int, int>> seen;
  for (int lane = 0; lane < 32; ++lane) {
    for (int e = 0; e < 4; ++e) {
      seen.insert({accumulator_row(lane) + 8 * (e / 2), accumulator_column(lane) + e % 2});
    }
  }
  EXPECT_EQ(seen.size(), 16u * 8u);
}

TEST(RasterTest, VisitsEveryTileOnce) {
  for (const auto& [tiles_m, tiles_n] : {std::pair{1, 1}, {7, 5}, {22, 54}, {1, 13}, {13, 1}}) {
    for (const int group_n : {1, 2, 3, 8, 100}) {
      std::set<std::pair<int, int>> seen;
      for (int i = 0; i < tiles_m * tiles_n; ++i) {
        const TileCoord tile = raster_tile(i, tiles_m, tiles_n, group_n);
        EXPECT_TRUE(tile.m >= 0 && tile.m < tiles_m && tile.n >= 0 && tile.n < tiles_n);
        EXPECT_TRUE(seen.insert({tile.m, tile.n}).second);
      }
    }
  }
}

TEST(RasterTest, GroupIsAboutSquareInBytes) {
  EXPECT_EQ(raster_group(132, 192, 256, 54), 9);  // 9 x 256 columns by 15 x 192 rows
  EXPECT_EQ(raster_group(132, 256, 128, 108), 16);
  EXPECT_EQ(raster_group(132, 128, 128, 4), 4);  // no wider than the matrix
  EXPECT_EQ(raster_group(1, 16, 128, 4), 1);
}

TEST(SplitKTest, NoSplitIsEmpty) {
  S8GemmParams p{};
  p.m = 3;
  p.n = 5;
  for (int steps = 0; steps < 80; ++steps) {
    for (int wanted = 0; wanted < 90; ++wanted) {
      const S8SplitK split = split_k_plan(p, steps, wanted);
      EXPECT_GE(split.splits, 1);
      EXPECT_LE(split.splits, std::max(wanted, 1));
      EXPECT_GE(split.splits * split.steps_per_split, steps);
      if (steps > 0) {
        EXPECT_LT((split.splits - 1) * split.steps_per_split, steps);
      }
    }
  }
  EXPECT_EQ(split_k_plan(p, 8, 2).ld, 8);
  EXPECT_EQ(split_k_plan(p, 8, 2).partial_bytes(p), 2u * 3u * 8u * 4u);
}

// Every k tile of every output tile is in one item, and no item is empty.
TEST(ClusterScheduleTest, CoversEveryTileAndAllOfKOnce) {
  S8GemmParams p{};
  p.m = p.n = 1;
  for (const auto& [rows, columns] : {std::pair{1, 1}, {2, 18}, {18, 5}, {16, 13}}) {
    for (const int k_tiles : {1, 7, 36, 416}) {
      for (const int wanted : {1, 2, 3, 8, 64}) {
        for (const int band : {1, 3, 8, 40}) {
          const S8SplitK split = split_k_plan(p, k_tiles, wanted);
          const ClusterSchedule schedule{
              rows, columns, split.splits, k_tiles, split.steps_per_split, band};
          std::vector<int> visits(static_cast<size_t>(rows * columns * k_tiles));
          for (int32_t i = 0; i < schedule.count(); ++i) {
            const ClusterSchedule::Item item = schedule.at(i);
            ASSERT_TRUE(item.row >= 0 && item.row < rows && item.column >= 0 &&
                        item.column < columns && item.split >= 0 && item.split < split.splits);
            ASSERT_TRUE(item.k_begin >= 0 && item.k_begin < item.k_end && item.k_end <= k_tiles);
            for (int kt = item.k_begin; kt < item.k_end; ++kt)
              ++visits[static_cast<size_t>((item.row * columns + item.column) * k_tiles + kt)];
          }
          EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), std::ssize(visits))
              << rows << " x " << columns << ", " << k_tiles << " k tiles, " << wanted << ", "
              << band;
        }
      }
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
