// The softmax of rows whose logits come tile by tile (tile/online_softmax.cuh), run on the CPU
// (emulation/lanes.h) against double precision: a warp with 16 rows, as wgmma gives them, an output
// that sums up the weights' own values.
#include <gtest/gtest.h>

#include "lanes.h"
#include "ops/cuda/tile/online_softmax.cuh"

namespace intaglio::cuda {
namespace {

using emulation::machine;

constexpr int kTiles = 4, kCount = 8;  // logits of a thread and tile: 4 of each of its two rows
constexpr int kRows = 16, kColumns = 4 * kCount / 2;  // of a tile
constexpr double kUnit = 0.5;

struct Row {
  double value[kTiles][kColumns] = {};
};

// Column `i` of a thread's row lies in the quad's part of the tile.
int column_of(int lane, int i) { return i / 2 * 8 + lane % 4 * 2 + i % 2; }

void expect_softmax(const std::vector<Row>& rows) {
  std::vector<float> sums(kRows, 0.0f), outputs(kRows, 0.0f);
  machine.fault = nullptr;
  machine.grid.x = 1;
  machine.block.x = 0;
  machine.kernel = [&] {
    const int lane = emulation::lane_index();
    OnlineSoftmax<kCount> softmax;
    float out[2] = {0.0f, 0.0f};
    for (int t = 0; t < kTiles; ++t) {
      float x[kCount];
      for (int i = 0; i < kCount; ++i) {
        const int half = i / 2 % 2;
        x[i] = static_cast<float>(rows[static_cast<size_t>(lane / 4 + 8 * half)]
                                      .value[t][column_of(lane, i / 4 * 2 + i % 2)]);
      }
      if (softmax.step(x, static_cast<float>(kUnit)))
        for (int r = 0; r < 2; ++r) out[r] *= softmax.correction[r];
      for (int i = 0; i < kCount; ++i)
        out[i / 2 % 2] += x[i] * static_cast<float>(t + column_of(lane, i / 4 * 2 + i % 2));
    }
    for (int r = 0; r < 2; ++r) {
      const float inverse = softmax.inverse_sum(r);
      float all = out[r] + ptx::shuffle_xor(out[r], 1);
      all += ptx::shuffle_xor(all, 2);
      if (lane % 4 == 0) outputs[static_cast<size_t>(lane / 4 + 8 * r)] = all * inverse;
    }
  };
  emulation::run_block(32);
  ASSERT_EQ(machine.fault, nullptr) << machine.fault;
  for (int r = 0; r < kRows; ++r) {
    double top = -1e300, sum = 0.0, out = 0.0;
    for (const auto& tile : rows[static_cast<size_t>(r)].value)
      for (const double x : tile) top = std::max(top, x);
    for (int t = 0; t < kTiles; ++t) {
      for (int c = 0; c < kColumns; ++c) {
        const double p = std::exp2(kUnit * (rows[static_cast<size_t>(r)].value[t][c] - top));
        sum += p;
        out += p * (t + c);
      }
    }
    EXPECT_NEAR(outputs[static_cast<size_t>(r)], out / sum, 1e-5) << "row " << r;
  }
}

// Rows that rise by less and by more than the slack of 8 from tile to tile, rows that fall, rows of
// one value; the earlier tiles keep weights that count.
TEST(OnlineSoftmax, WhatWasSummedUpFollowsTheReference) {
  std::vector<Row> rows(kRows);
  for (int r = 0; r < kRows; ++r) {
    const double rise = 3.0 * (r - 5);
    for (int t = 0; t < kTiles; ++t)
      for (int c = 0; c < kColumns; ++c)
        rows[static_cast<size_t>(r)].value[t][c] = rise * t + (c * 7 % 5) - (c == 3 ? 0 : 1);
  }
  // One column of the first tile weighs as much as all that comes after a rise.
  for (const int r : {9, 12})
    rows[static_cast<size_t>(r)].value[0][6] =
        rows[static_cast<size_t>(r)].value[kTiles - 1][0] - 2.0;
  expect_softmax(rows);
}

}  // namespace
}  // namespace intaglio::cuda
