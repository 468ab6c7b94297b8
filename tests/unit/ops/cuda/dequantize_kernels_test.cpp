// The kernels that write weights and sums out as bf16, run on the CPU (emulation/lanes.h) against
// their formulas: ragged sizes, guards around the output.
#include <gtest/gtest.h>

#include "lanes.h"
// Fibers of one thread share what is static, as lanes share what is __shared__.
#undef __shared__
#define __shared__ static
#include "ops/cuda/kernels/dequantize_s32.cuh"
#include "ops/cuda/kernels/dequantize_weights.cuh"

namespace intaglio::cuda {
namespace {

using emulation::machine;

void run_grid(int64_t blocks, int threads, std::function<void()> kernel) {
  machine.kernel = std::move(kernel);
  machine.fault = nullptr;
  machine.grid.x = static_cast<unsigned>(blocks);
  for (unsigned block = 0; block < machine.grid.x; ++block) {
    machine.block.x = block;
    emulation::run_block(threads);
  }
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr size_t kGuard = 8;

// Device memory at a multiple of 16 bytes, a guard behind it.
template <typename T>
class Memory {
 public:
  explicit Memory(int64_t count)
      : count_(static_cast<size_t>(count)), storage_(count_ * sizeof(T) / 16 + 1 + kGuard) {
    std::memset(storage_.data(), 0xa5, storage_.size() * 16);
  }
  T* data() { return reinterpret_cast<T*>(storage_.data()); }
  T& operator[](int64_t i) { return data()[i]; }
  bool guard_is_whole() {
    const auto* const all = reinterpret_cast<const uint8_t*>(storage_.data());
    return std::all_of(all + count_ * sizeof(T), all + storage_.size() * 16,
                       [](uint8_t byte) { return byte == 0xa5; });
  }

 private:
  size_t count_;
  std::vector<uint4> storage_;
};

class Dequantize : public testing::Test {
 protected:
  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  int8_t byte() { return static_cast<int8_t>(random_()); }
  float scale() { return std::uniform_real_distribution<float>(0.001f, 2.0f)(random_); }

  static uint16_t bits(float x) { return BFloat16(x).bits; }

  // `weight(i)`: weight i of the dense output, in float.
  template <typename Weight>
  static void expect_output(Memory<uint16_t>& out, int64_t count, Weight&& weight) {
    EXPECT_EQ(machine.fault, nullptr) << machine.fault;
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(out[i], bits(weight(i))) << i;
    EXPECT_TRUE(out.guard_is_whole());
  }

  std::mt19937 random_{7};
};

constexpr int64_t kOfBlock = kDequantizeThreads * kDequantizePieces;

TEST_F(Dequantize, Int8RowsTakeTheirOwnScale) {
  for (const auto& [n, k, gap] :
       {std::tuple{1, 8, 0}, {3, 24, 8}, {130, 72, 0}, {7, 4096, 16}, {2, 9, 0}, {5, 33, 3}}) {
    const int64_t ldw = k + gap, count = int64_t{n} * k;
    Memory<int8_t> w(n * ldw);
    Memory<float> scales(n);
    Memory<uint16_t> out(count);
    for (int64_t i = 0; i < n * ldw; ++i) w[i] = byte();
    for (int64_t i = 0; i < n; ++i) scales[i] = scale();
    const DequantizeWeightsParams p{w.data(), scales.data(), out.data(), ldw, n, k};
    if (k % kPieceWeights == 0 && ldw % kPieceWeights == 0) {
      run_grid(ceil_div(count / kPieceWeights, kOfBlock), kDequantizeThreads,
               [&] { dequantize_i8_kernel<true>(p); });
    } else {
      run_grid(ceil_div(count, kOfBlock), kDequantizeThreads,
               [&] { dequantize_i8_kernel<false>(p); });
    }
    const int columns = k;
    expect_output(out, count, [&](int64_t i) {
      return static_cast<float>(w[i / columns * ldw + i % columns]) * scales[i / columns];
    });
  }
}

TEST_F(Dequantize, Nf4RunsOverRowsAndMayEndWithinABlock) {
  for (const auto& [n, k] :
       {std::pair{1, 1}, {1, 7}, {3, 5}, {1, 64}, {9, 64}, {33, 100}, {5, 2049}}) {
    const int64_t count = int64_t{n} * k;
    Memory<uint8_t> codes(nf4_code_bytes(count));
    Memory<float> absmax(nf4_blocks(count));
    Memory<uint16_t> out(count);
    for (int64_t i = 0; i < nf4_code_bytes(count); ++i) codes[i] = static_cast<uint8_t>(byte());
    for (int64_t i = 0; i < nf4_blocks(count); ++i) absmax[i] = scale();
    DequantizeWeightsParams p{codes.data(), absmax.data(), out.data(), 0, n, k};
    p.format = WeightFormat::kNf4;
    run_grid(std::max<int64_t>(ceil_div(count / kPieceWeights, kOfBlock), 1), kDequantizeThreads,
             [&] { dequantize_nf4_kernel(p); });
    expect_output(out, count, [&](int64_t i) {
      const int code = i % 2 == 0 ? codes[i / 2] / 16 : codes[i / 2] % 16;
      return nf4_value(code) * absmax[i / 64];
    });
  }
}

TEST_F(Dequantize, Q8_0BlocksOfThirtyFourBytes) {
  for (const auto& [n, k] :
       {std::pair{1, 32}, {3, 96}, {255, 32}, {256, 32}, {257, 32}, {7, 4608}}) {
    const int64_t count = int64_t{n} * k;
    Memory<uint8_t> blocks(q8_0_bytes(count));
    Memory<uint16_t> out(count);
    for (int64_t i = 0; i < q8_0_bytes(count); ++i) blocks[i] = static_cast<uint8_t>(byte());
    for (int64_t i = 0; i < count; i += 32) {
      const Float16 d(scale());
      std::memcpy(&blocks[i / 32 * 34], &d.bits, 2);
    }
    DequantizeWeightsParams p{blocks.data(), nullptr, out.data(), 0, n, k};
    p.format = WeightFormat::kQ8_0;
    run_grid(ceil_div(count / kQ8_0Block, kQ8_0TileBlocks), kDequantizeThreads,
             [&] { dequantize_q8_0_kernel(p); });
    expect_output(out, count, [&](int64_t i) {
      Float16 d;
      std::memcpy(&d.bits, &blocks[i / 32 * 34], 2);
      return static_cast<float>(static_cast<int8_t>(blocks[i / 32 * 34 + 2 + i % 32])) *
             static_cast<float>(d);
    });
  }
}

TEST_F(Dequantize, SumsTakeBothScalesAndTheBias) {
  for (const auto& [m, n] : {std::pair{1, 4}, {3, 12}, {37, 100}, {2, 4608}}) {
    const int columns = n;
    const int64_t count = int64_t{m} * n;
    Memory<int32_t> sums(count);
    Memory<float> rows(m), cols(n), bias(n);
    Memory<uint16_t> out(count);
    for (int64_t i = 0; i < count; ++i) sums[i] = below(1 << 24) - (1 << 23);
    for (int64_t i = 0; i < m; ++i) rows[i] = scale();
    for (int64_t i = 0; i < n; ++i) cols[i] = scale(), bias[i] = scale() - 1.0f;
    S8GemmParams p{};
    p.a_scale_row = rows.data();
    p.w_scale_col = cols.data();
    p.bias = bias.data();
    p.out = out.data();
    p.ldo = n;
    p.m = m;
    p.n = n;
    p.out_type = DType::kBF16;
    const int64_t of_block = kDequantizeS32Threads * kDequantizeS32Quads;
    run_grid(ceil_div(count / 4, of_block), kDequantizeS32Threads,
             [&] { dequantize_s32_kernel(p, sums.data()); });
    expect_output(out, count, [&](int64_t i) {
      const float factor = rows[i / columns] * cols[i % columns];
      const float product = static_cast<float>(sums[i]) * factor;
      return product + bias[i % columns];
    });
  }
}

}  // namespace
}  // namespace intaglio::cuda
