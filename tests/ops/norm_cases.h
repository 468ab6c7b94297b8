// Cases of norms and gated residuals, and how near their outputs come to the reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/norm.h"
#include "ops/quantize.h"

namespace intaglio {

// Statistics in float32 lanes and a few float32 roundings an element: measured below 5e-7 of the
// element. Those of a GPU are float32 sums throughout: a step or two more for each doubling of the
// columns, and a mean that a layer norm subtracts has them too.
inline constexpr float kTolerance = 1e-6f;
inline float tolerance_of(const Context& context, NormKind kind) {
  if (context.gpu == nullptr) return kTolerance;
  return kind == NormKind::kLayer ? 1e-5f : 4e-6f;
}

inline std::vector<float> random_floats(int64_t count, uint32_t seed, float scale = 1.0f,
                                        float offset = 0.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = offset + scale * normal(generator);
  return values;
}

inline std::vector<BFloat16> to_bf16(const std::vector<float>& values) {
  std::vector<BFloat16> halves;
  for (const float value : values) halves.emplace_back(value);
  return halves;
}

// An output of any type, filled with a pattern before it is written; all its bytes, data then
// scales, compare at once.
struct Output {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> data;
  std::vector<float> scales;

  Output(DType type, int64_t r, int64_t c)
      : dtype(type),
        rows(r),
        cols(c),
        data(static_cast<size_t>(r * c) * dtype_size(type), std::byte{0x55}),
        scales(static_cast<size_t>(r), -1.0f) {}

  Activation activation() {
    return {dtype, data.data(), rows, cols, dtype == DType::kI8 ? scales.data() : nullptr};
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data.data());
  }
};

struct NormCase {
  NormDesc desc;
  std::vector<float> x, weight, modulation, shift;
  bool with_weight = true, with_modulation = true, with_shift = false;

  NormArgs args(Output& out) const {
    return {.x = x.data(),
            .weight = with_weight ? weight.data() : nullptr,
            .modulation = with_modulation ? modulation.data() : nullptr,
            .shift = with_shift ? shift.data() : nullptr,
            .out = out.activation()};
  }
  // Where a device has them.
  NormArgs args(Output& out, test::Operands& on) const {
    NormArgs a = args(out);
    const auto moved = [&](const float* values, const std::vector<float>& all) {
      return on.in(const_cast<float*>(values), all.size());
    };
    a.x = moved(a.x, x);
    a.weight = moved(a.weight, weight);
    a.modulation = moved(a.modulation, modulation);
    a.shift = moved(a.shift, shift);
    a.out.data = on.out(a.out.data, out.data.size());
    a.out.scale_row = on.out(a.out.scale_row, out.scales.size());
    return a;
  }
};

inline NormCase make_case(NormKind kind, int64_t rows, int64_t cols, float scale = 1.0f,
                          float offset = 0.0f) {
  NormCase c;
  c.desc = {kind, rows, cols, 1e-6f, DType::kF32};
  c.x = random_floats(rows * cols, 1, scale, offset);
  c.weight = random_floats(cols, 2, 0.3f, 1.0f);
  c.modulation = random_floats(cols, 3, 0.3f);
  c.shift = random_floats(cols, 8, 2.0f);
  return c;
}

inline Output run(const NormImplementation& implementation, const NormCase& c, DType dtype,
                  const Context& context) {
  Output out(dtype, c.desc.rows, c.desc.cols);
  NormDesc desc = c.desc;
  desc.out_dtype = dtype;
  test::Operands on(context);
  const Status status = implementation.norm(context, desc, c.args(out, on));
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  return out;
}

inline const NormImplementation& reference() { return norm_implementations().back(); }
inline Output reference_of(const NormCase& c, DType dtype) {
  return run(reference(), c, dtype, test::host_context());
}

template <typename Fn>
void for_each_implementation(Fn&& fn) {
  test::each_implementation(norm_implementations(), NormDesc{}, fn);
}

// Columns around the vector (16), the unrolled loop (64) and the stretch between float64 sums
// (2048), and such as a GPU does not hold at once.
inline const std::vector<int64_t> kCols{1,   3,    15,   16,   17,   40,   64,    65,   127,
                                        384, 2047, 2048, 2049, 4608, 5000, 20000, 53248};

// ops/quantize.h, from its text.
inline void quantize_by_contract(const float* x, int64_t cols, int8_t* q, float* scale) {
  float absmax = 0.0f;
  for (int64_t c = 0; c < cols; ++c) absmax = std::fmax(absmax, std::fabs(x[c]));
  *scale = std::fmax(absmax / 127.0f, kMinQuantScale);
  for (int64_t c = 0; c < cols; ++c) {
    const float r = absmax == 0.0f ? 0.0f : std::nearbyint(x[c] * (127.0f / absmax));
    q[c] = static_cast<int8_t>(std::fmin(127.0f, std::fmax(-127.0f, r)));
  }
}

// The bf16 and int8 outputs are functions of the float output: of the same implementation, to the
// last bit.
inline void expect_narrow(const Output& floats, const Output& halves, const Output& bytes) {
  const int64_t cols = floats.cols;
  std::vector<int8_t> q(static_cast<size_t>(cols));
  for (int64_t row = 0; row < floats.rows; ++row) {
    const float* values = floats.as<float>() + row * cols;
    float scale = 0.0f;
    quantize_by_contract(values, cols, q.data(), &scale);
    ASSERT_EQ(bytes.scales[static_cast<size_t>(row)], scale) << cols;
    for (int64_t j = 0; j < cols; ++j) {
      ASSERT_EQ(halves.as<BFloat16>()[row * cols + j].bits, BFloat16(values[j]).bits)
          << cols << " " << j;
      ASSERT_EQ(bytes.as<int8_t>()[row * cols + j], q[static_cast<size_t>(j)]) << cols << " " << j;
    }
  }
}

// Int8 rows are one step apart where rounding falls on the other side, in at most so many values.
inline void expect_near_rows(const Output& found, const Output& expected, float tolerance,
                             double most) {
  int64_t differing = 0;
  for (int64_t i = 0; i < found.rows * found.cols; ++i) {
    const int difference = std::abs(found.as<int8_t>()[i] - expected.as<int8_t>()[i]);
    ASSERT_LE(difference, 1) << i;
    differing += difference;
  }
  EXPECT_LE(static_cast<double>(differing), most);
  for (size_t row = 0; row < found.scales.size(); ++row)
    EXPECT_NEAR(found.scales[row], expected.scales[row], tolerance * expected.scales[row]);
}

}  // namespace intaglio
