// What of the CUDA row quantizers can be checked without a GPU: who holds which columns, how the
// rotating kernel's threads exchange values, and the rounding trick.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "ops/cuda/kernels/rotate_layout.h"
#include "ops/cuda/launch/quantize_rows_shape.h"
#include "quant/rotation.h"

namespace intaglio::cuda {
namespace {

TEST(QuantizeRowsShape, CoversEveryRowOrStreamsIt) {
  for (const RowLimits limits : {RowLimits{4, 1024, 192}, RowLimits{8, 768, 192}, RowLimits{}}) {
    for (int64_t pieces = 1; pieces <= 14000; ++pieces) {
      const RowShape shape = quantize_rows_shape(pieces, limits);
      ASSERT_EQ(shape.threads % 32, 0);
      ASSERT_LE(shape.threads, shape.chunks < limits.most_chunks ? 1024 : limits.most_threads);
      if (shape.chunks == 0) {
        ASSERT_GT(pieces, limits.most_threads * limits.most_chunks);
        continue;
      }
      ASSERT_LE(shape.chunks, limits.most_chunks);
      const int a_row = shape.rows > 1 ? 32 : shape.threads;
      ASSERT_EQ(shape.rows, shape.rows > 1 ? shape.threads / 32 : 1);
      ASSERT_GE(int64_t{a_row} * shape.chunks, pieces) << pieces;
      if (shape.rows == 1) {
        ASSERT_GE(shape.chunks, 2);
      } else {
        ASSERT_LE(shape.chunks, 4);
      }
    }
  }
  // Real sizes leave no thread idle.
  EXPECT_EQ(quantize_rows_shape(4608 / 8, {}).threads, 288);
  EXPECT_EQ(quantize_rows_shape(12288 / 8, {}).threads, 384);
  EXPECT_EQ(quantize_rows_shape(53248 / 8, {}).threads, 832);
  EXPECT_EQ(quantize_rows_shape(4608 / 4, {.target_threads = 192}).threads, 160);
}

TEST(RotateRowsShape, CoversEveryRowOrStreamsIt) {
  for (int group : {16, 64, 256, 1024, 4096}) {
    for (int64_t pieces = 1; pieces <= 4000; ++pieces) {
      const RowShape shape = rotate_rows_shape(pieces, group);
      ASSERT_EQ(shape.threads % (group > 256 ? 256 : 32), 0);
      ASSERT_LE(shape.threads, kRotateMostThreads);
      if (shape.chunks == 0) {
        ASSERT_GT(pieces, kRotateMostThreads * kRotateMostChunks);
      } else {
        ASSERT_GE(int64_t{shape.threads} * shape.chunks, pieces);
      }
    }
  }
  EXPECT_EQ(rotate_rows_shape(4608 / 16, 256).threads, 288);
  EXPECT_EQ(rotate_rows_shape(12288 / 16, 256).threads, 384);
  EXPECT_EQ(rotate_rows_shape(12288 / 16, 4096).threads, 256);
}

// The kernel's order of work for one tile of 256 threads, with the kernel's own offsets.
class RotateEmulation {
 public:
  static constexpr int kColumns = 16 * kTileThreads;

  explicit RotateEmulation(const std::vector<float>& x) : scratch_(8 * kWarpScratch) {
    for (int t = 0; t < kTileThreads; ++t)
      for (int e = 0; e < 16; ++e) held_[t][e] = x[static_cast<size_t>(16 * t + e)];
  }

  void rotate(int group) {
    each([](float* v) { butterflies(v, 1), butterflies(v, 4); });
    if (group >= 64) {
      for (int t = 0; t < kTileThreads; ++t)
        for (int e = 0; e < 16; ++e)
          scratch_.at(static_cast<size_t>(warp(t) + small_write(t % 32, e / 4) + e % 4)) =
              held_[t][e];
      for (int t = 0; t < kTileThreads; ++t)
        for (int i = 0; i < 16; ++i)
          held_[t][i] = scratch_.at(static_cast<size_t>(warp(t) + small_read(t % 32, i)));
      each([group](float* v) {
        butterflies(v, 1);
        if (group >= 256) butterflies(v, 4);
      });
    }
    if (group >= 1024) {
      for (int t = 0; t < kTileThreads; ++t)
        for (int i = 0; i < 16; ++i)
          scratch_.at(static_cast<size_t>(large_write(t, i))) = held_[t][i];
      for (int t = 0; t < kTileThreads; ++t)
        for (int j = 0; j < 16; ++j)
          held_[t][j] = scratch_.at(static_cast<size_t>(large_read(t, j)));
      each([group](float* v) {
        butterflies(v, 1);
        if (group >= 4096) butterflies(v, 4);
      });
    }
  }

  // Values go back as the kernel's bytes do, four a word.
  std::vector<float> consecutive(int group) const {
    std::vector<float> y(kColumns);
    std::vector<const float*> words(8 * kWarpScratch);
    const bool large = group >= 1024;
    for (int t = 0; t < kTileThreads; ++t) {
      for (int a = 0; a < 4; ++a) {
        if (group == 16) continue;
        words.at(static_cast<size_t>(large ? large_word_write(t, a)
                                           : warp(t) + small_word_write(t % 32, a))) =
            &held_[t][4 * a];
      }
    }
    for (int t = 0; t < kTileThreads; ++t) {
      for (int e = 0; e < 16; ++e) {
        float value = held_[t][e];
        if (group > 16) {
          const int word =
              large ? large_word_read(t, e / 4) : warp(t) + small_word_read(t % 32, e / 4);
          value = words.at(
              static_cast<size_t>(word + e % 4))[large ? large_byte(t) : small_byte(t % 32)];
        }
        y[static_cast<size_t>(16 * t + e)] = value;
      }
    }
    return y;
  }

 private:
  static int warp(int thread) { return thread / 32 * kWarpScratch; }

  static void butterflies(float* v, int stride) {
    for (int k = 0; k < 4; ++k) {
      float* p = v + (stride == 1 ? 4 * k : k);
      const float x0 = p[0], x1 = p[stride], x2 = p[2 * stride], x3 = p[3 * stride];
      const float s = ((x0 + x1) + (x2 + x3)) * 0.5f;
      p[0] = s - x3, p[stride] = s - x2, p[2 * stride] = s - x1, p[3 * stride] = s - x0;
    }
  }

  template <typename Body>
  void each(Body&& body) {
    for (auto& v : held_) body(v);
  }

  float held_[kTileThreads][16];
  std::vector<float> scratch_;
};

TEST(RotateLayout, ExchangesGiveTheBitsOfTheReference) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> x(RotateEmulation::kColumns);
  for (float& value : x) value = normal(random);
  for (int group : {16, 64, 256, 1024, 4096}) {
    std::vector<float> expected = x;
    rotate_row(expected.data(), RotateEmulation::kColumns, group);
    RotateEmulation kernel(x);
    kernel.rotate(group);
    ASSERT_EQ(kernel.consecutive(group), expected) << group;
  }
}

// Lanes of one access, in phases of 32 words, must hit distinct banks.
int most_conflicts(int lanes, int words, auto&& offset) {
  int most = 0;
  for (int first = 0; first < 32; first += lanes) {
    std::vector<std::set<int>> bank(32);
    for (int lane = first; lane < first + lanes; ++lane)
      for (int w = 0; w < words; ++w)
        bank[static_cast<size_t>((offset(lane) + w) % 32)].insert(offset(lane) + w);
    for (const auto& words_of_bank : bank)
      most = std::max(most, static_cast<int>(words_of_bank.size()));
  }
  return most;
}

TEST(RotateLayout, NoBankConflicts) {
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(most_conflicts(32, 1, [i](int lane) { return small_read(lane, i); }), 1);
    EXPECT_EQ(most_conflicts(32, 1, [i](int lane) { return large_write(lane + 64, i); }), 1);
    EXPECT_EQ(most_conflicts(32, 1, [i](int lane) { return large_read(lane + 64, i); }), 1);
  }
  for (int quad = 0; quad < 4; ++quad) {
    EXPECT_EQ(most_conflicts(8, 4, [quad](int lane) { return small_write(lane, quad); }), 1);
    EXPECT_EQ(most_conflicts(8, 4, [quad](int lane) { return small_word_read(lane, quad); }), 1);
    EXPECT_EQ(most_conflicts(8, 4, [quad](int lane) { return large_word_read(lane + 32, quad); }),
              1);
    EXPECT_EQ(most_conflicts(32, 1, [quad](int lane) { return small_word_write(lane, quad); }), 1);
    // Four of the 32 words meet another: not worth a layout of its own.
    EXPECT_LE(most_conflicts(32, 1, [quad](int lane) { return large_word_write(lane, quad); }), 2);
  }
}

TEST(RoundingTrick, IsRoundHalfToEven) {
  for (int step = -127 * 64; step <= 127 * 64; ++step) {
    const float value = static_cast<float>(step) / 64.0f;
    for (float x : {value, std::nextafter(value, 1000.0f), std::nextafter(value, -1000.0f)}) {
      const float sum = x + 12582912.0f;
      const auto byte = static_cast<int8_t>(std::bit_cast<uint32_t>(sum) & 0xffu);
      ASSERT_EQ(byte, static_cast<int8_t>(std::nearbyint(x))) << x;
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
