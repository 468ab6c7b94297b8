// The passes over rows of floats, one set an instruction set, against double precision.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/cpu_features.h"
#include "ops/cpu/float_row_kernels.h"

namespace intaglio::cpu {
namespace {

std::vector<std::pair<const char*, const FloatRowKernels*>> sets() {
  std::vector<std::pair<const char*, const FloatRowKernels*>> list{{"generic", &kGenericFloatRows}};
  if (host_cpu_features().isa >= CpuIsa::kAvx2) list.emplace_back("avx2", &kAvx2FloatRows);
  if (host_cpu_features().isa >= CpuIsa::kAvx512Vnni)
    list.emplace_back("avx512", &kAvx512FloatRows);
  return list;
}

// Halfway cases go to the even neighbour, NaN stays NaN whatever its low bits, the largest floats
// become infinite.
TEST(FloatRows, NarrowRoundsToEven) {
  const std::vector<std::pair<uint32_t, uint16_t>> cases{
      {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
      {0x3f807fff, 0x3f80}, {0xbf828000, 0xbf82}, {0x7f7fffff, 0x7f80}, {0x80000000, 0x8000},
      {0x00018000, 0x0002}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0},
      {0x7fffffff, 0x7fff}, {0xffffffff, 0xffff}};
  std::vector<float> x;
  for (int copies = 0; copies < 3; ++copies)
    for (const auto& [bits, expected] : cases) x.push_back(std::bit_cast<float>(bits));
  for (const auto& [name, kernels] : sets()) {
    std::vector<uint16_t> y(x.size());
    kernels->narrow(x.data(), static_cast<int64_t>(x.size()), y.data());
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_EQ(y[i], cases[i % cases.size()].second)
          << name << " " << std::hex << cases[i % cases.size()].first;
  }
}

// exp takes 2e-7 of relative error (float_row_loops.h), the sum and the quotient a rounding each.
TEST(FloatRows, SwigluIsExactToAFewRoundings) {
  constexpr int64_t kOutputs = 3200;
  std::vector<float> gate_up(2 * kOutputs), out(kOutputs);
  for (int64_t i = 0; i < kOutputs; ++i) {
    gate_up[static_cast<size_t>(i)] = static_cast<float>(i) / 100.0f - 16.0f;
    gate_up[static_cast<size_t>(i + kOutputs)] = 3.0f;
  }
  for (const auto& [name, kernels] : sets()) {
    kernels->epilogue({.product = gate_up.data(), .outputs = kOutputs, .out = out.data()});
    for (int64_t i = 0; i < kOutputs; ++i) {
      const double gate = gate_up[static_cast<size_t>(i)];
      const double expected = 3.0 * gate / (1.0 + std::exp(-gate));
      EXPECT_NEAR(out[static_cast<size_t>(i)], expected, 5e-7 * std::fabs(expected))
          << name << " " << gate;
    }
  }
}

TEST(FloatRows, SoftmaxIsExactToAFewRoundings) {
  constexpr int64_t kCount = 777;
  for (const auto& [name, kernels] : sets()) {
    std::vector<float> x(kCount);
    std::vector<double> expected(kCount);
    double sum = 0.0;
    for (int64_t i = 0; i < kCount; ++i) {
      x[static_cast<size_t>(i)] = static_cast<float>((i * 37) % kCount) / 40.0f;
      sum += expected[static_cast<size_t>(i)] = std::exp(0.5 * x[static_cast<size_t>(i)]);
    }
    kernels->softmax(x.data(), kCount, 0.5f, x.data(), false);
    for (int64_t i = 0; i < kCount; ++i) {
      const double y = expected[static_cast<size_t>(i)] / sum;
      EXPECT_NEAR(x[static_cast<size_t>(i)], y, 3e-6 * y) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace intaglio::cpu
