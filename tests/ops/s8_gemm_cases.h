// Operands and checks shared by the tests of the int8 GEMM.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "ops/ref/s8_gemm.h"
#include "ops/s8_gemm.h"
#include "support/operands.h"

namespace intaglio::testing {

struct S8Case {
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0;
  std::vector<int8_t> a, w;
  std::vector<float> a_scale, w_scale, bias;
};

// Full-range operands, -128 included and frequent; row 1 (if any) is zero, row 2 has a NaN scale,
// row 3 an infinite one.
inline S8Case make_s8_case(int64_t m, int64_t n, int64_t k, int64_t lda_gap = 0) {
  S8Case c{.m = m,
           .n = n,
           .k = k,
           .lda = k + lda_gap,
           .a = {},
           .w = {},
           .a_scale = {},
           .w_scale = {},
           .bias = {}};
  std::mt19937 random(static_cast<unsigned>(m * 7919 + n * 104729 + k));
  const auto byte = [&] {
    return random() % 16 == 0 ? int8_t{-128} : static_cast<int8_t>(random() & 0xff);
  };
  c.a.resize(static_cast<size_t>(m * c.lda),
             int8_t{77});  // the gap holds something that would show
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t i = 0; i < k; ++i)
      c.a[static_cast<size_t>(r * c.lda + i)] = r == 1 ? int8_t{0} : byte();
  }
  c.w.resize(static_cast<size_t>(n * k));
  for (int8_t& x : c.w) x = byte();
  std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
  // y is then of the order of 1, where SiLU is not flat.
  for (int64_t r = 0; r < m; ++r)
    c.a_scale.push_back(uniform(random) / (5000.0f * std::sqrt(static_cast<float>(k))));
  for (int64_t j = 0; j < n; ++j) c.w_scale.push_back(uniform(random));
  for (int64_t j = 0; j < n; ++j) c.bias.push_back(uniform(random) - 1.0f);
  if (m > 2) c.a_scale[2] = std::numeric_limits<float>::quiet_NaN();
  if (m > 3) c.a_scale[3] = std::numeric_limits<float>::infinity();
  return c;
}

struct S8Output {
  int64_t rows = 0, cols = 0, ldo = 0;
  std::vector<uint32_t> words;  // raw output, a guard column and a guard row included
  static constexpr uint32_t kGuard = 0x5a5a5a5a;

  template <typename T>
  T at(int64_t r, int64_t c) const {
    T value;
    std::memcpy(
        &value,
        reinterpret_cast<const char*>(words.data()) + static_cast<size_t>(r * ldo + c) * sizeof(T),
        sizeof(T));
    return value;
  }
};

// `run` is called as run(context, desc, args) where the context is; returns the output with its
// guards checked. `packed`: the weights.
template <typename Run>
S8Output run_s8_case(const S8Case& c, const S8GemmDesc& desc, const Context& base,
                     std::span<const std::byte> packed, size_t scratch_bytes, bool with_bias,
                     Run&& run) {
  S8Output out;
  out.rows = desc.m;
  out.cols = desc.out_dtype == DType::kI32 ? desc.n : epilogue_columns(desc.epilogue, desc.n);
  out.ldo = out.cols + 5;
  out.words.assign(static_cast<size_t>((out.rows + 1) * out.ldo), S8Output::kGuard);
  // The arena holds exactly what the op asked for, so asking for too little fails.
  auto memory = allocate(base, scratch_bytes);
  EXPECT_TRUE(memory.has_value());
  Arena arena(std::move(*memory));
  Context context = base;
  context.scratch = &arena;
  test::Operands on(context);
  const auto in = [&]<typename T>(const std::vector<T>& values) {
    return on.in(const_cast<T*>(values.data()), values.size());
  };
  const S8GemmArgs args{.a = in(c.a),
                        .lda = c.lda,
                        .a_scale_row = in(c.a_scale),
                        .w_packed = on.in(const_cast<std::byte*>(packed.data()), packed.size()),
                        .w_scale_col = in(c.w_scale),
                        .bias = with_bias ? in(c.bias) : nullptr,
                        .out = on.out(out.words.data(), out.words.size()),
                        .ldo = out.ldo};
  const Status status = run(context, desc, args);
  EXPECT_TRUE(status.has_value()) << (status ? "" : status.error().message);
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  for (int64_t r = 0; r <= out.rows; ++r) {
    for (int64_t col = r == out.rows ? 0 : out.cols; col < out.ldo; ++col) {
      if (desc.out_dtype == DType::kBF16) {
        EXPECT_EQ(out.at<uint16_t>(r, col), 0x5a5a) << "written outside at " << r << ", " << col;
      } else {
        EXPECT_EQ(out.at<uint32_t>(r, col), S8Output::kGuard)
            << "written outside at " << r << ", " << col;
      }
    }
  }
  return out;
}

// I32 bit for bit, F32 and BF16 as the reference says.
inline void expect_same_output(const S8GemmDesc& desc, const S8Output& got,
                               const S8Output& expected) {
  int64_t wrong = 0;
  for (int64_t r = 0; r < got.rows; ++r) {
    for (int64_t c = 0; c < got.cols; ++c) {
      const auto agrees = [&]<typename T>(T) {
        return ref::s8_agrees(desc.out_dtype, desc.epilogue, static_cast<float>(got.at<T>(r, c)),
                              static_cast<float>(expected.at<T>(r, c)));
      };
      const bool same = desc.out_dtype == DType::kI32
                            ? got.at<int32_t>(r, c) == expected.at<int32_t>(r, c)
                        : desc.out_dtype == DType::kBF16 ? agrees(BFloat16())
                                                         : agrees(0.0f);
      if (!same && ++wrong <= 3) ADD_FAILURE() << "differs at " << r << ", " << c;
    }
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace intaglio::testing
