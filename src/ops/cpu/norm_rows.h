// The row kernels of norm, gated_residual and qk_norm_rope, written once over the 16-float pieces
// (Floats, load, store, ...) that the including file's instruction set has defined before. Internal
// linkage: each set of flags gets its own copy.
#pragma once

#include <cstdint>

#include "ops/cpu/norm_kernels.h"

namespace intaglio {
namespace {

constexpr int64_t kFoldCols = 2048;

inline double fold(const Doubles& sum) {
  double lane[kLanes];
  spill(sum, lane);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

// Sum over a row of step(accumulator, vector at c): float in 64 lanes, float64 from one stretch of
// 2048 columns to the next.
template <typename Step>
inline double sum_row(int64_t cols, Step&& step) {
  Doubles total;
  for (int64_t begin = 0; begin < cols; begin += kFoldCols) {
    const int64_t end = cols - begin < kFoldCols ? cols : begin + kFoldCols;
    Floats part[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
    int64_t c = begin;
    for (; c + 4 * kLanes <= end; c += 4 * kLanes) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) part[i] = step(part[i], c + i * kLanes);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      if (c + i * kLanes < end) part[i] = step(part[i], c + i * kLanes);
    }
    accumulate(total, add(add(part[0], part[1]), add(part[2], part[3])));
  }
  return fold(total);
}

template <typename T>
inline double sum_of_squares(const T* x, int64_t cols) {
  return sum_row(cols, [=](Floats sum, int64_t c) {
    const Floats v = load(x, c, cols);
    return mul_add(v, v, sum);
  });
}

inline float inverse_root(double squares, int64_t count, float eps) {
  return static_cast<float>(
      1.0 / __builtin_sqrt(squares / static_cast<double>(count) + static_cast<double>(eps)));
}

// What turns x into its normalized value. The mean is kept in two floats, so that a mean much
// larger than the deviations costs no digits.
struct RowNorm {
  float mean_high = 0.0f, mean_low = 0.0f, inverse = 0.0f;
};

inline RowNorm measure_row(const NormRowArgs& args) {
  RowNorm norm;
  const float* x = args.x;
  const int64_t cols = args.cols;
  if (!args.layer) {
    norm.inverse = inverse_root(sum_of_squares(x, cols), cols, args.eps);
    return norm;
  }
  const double sum =
      sum_row(cols, [=](Floats part, int64_t c) { return add(part, load(x, c, cols)); });
  const double mean = sum / static_cast<double>(cols);
  norm.mean_high = static_cast<float>(mean);
  norm.mean_low = static_cast<float>(mean - static_cast<double>(norm.mean_high));
  const Floats high = all(norm.mean_high);
  const Floats low = all(norm.mean_low);
  const double squares = sum_row(cols, [=](Floats part, int64_t c) {
    const Floats d = inside(sub(sub(load(x, c, cols), high), low), c, cols);
    return mul_add(d, d, part);
  });
  norm.inverse = inverse_root(squares, cols, args.eps);
  return norm;
}

inline Floats norm_value(const NormRowArgs& args, const RowNorm& norm, int64_t c) {
  Floats y = load(args.x, c, args.cols);
  if (args.layer) y = inside(sub(sub(y, all(norm.mean_high)), all(norm.mean_low)), c, args.cols);
  y = mul(y, all(norm.inverse));
  if (args.weight != nullptr) y = mul(y, load(args.weight, c, args.cols));
  if (args.modulation != nullptr) y = mul(y, add(all(1.0f), load(args.modulation, c, args.cols)));
  return y;
}

// ops/quantize.h on the values of the row, which are formed twice rather than stored: x is in L1.
inline void norm_row_to_int8(const NormRowArgs& args, const RowNorm& norm) {
  constexpr int32_t kInfinity = 0x7f800000;
  int8_t* q = static_cast<int8_t*>(args.out);
  Magnitudes magnitudes = no_magnitudes();
  for (int64_t c = 0; c < args.cols; c += kLanes) {
    magnitudes = larger_magnitudes(magnitudes, norm_value(args, norm, c));
  }
  const int32_t bits = largest(magnitudes);
  if (bits == 0 || bits >= kInfinity) {
    for (int64_t c = 0; c < args.cols; ++c) q[c] = 0;
    *args.scale = bits == 0 ? 1e-30f : __builtin_nanf("");
    return;
  }
  float absmax;
  __builtin_memcpy(&absmax, &bits, sizeof(absmax));
  const Floats multiplier = all(127.0f / absmax);
  for (int64_t c = 0; c < args.cols; c += kLanes) {
    store_rounded(q, c, args.cols, mul(norm_value(args, norm, c), multiplier));
  }
  const float scale = absmax / 127.0f;
  *args.scale = scale > 1e-30f ? scale : 1e-30f;
}

inline void norm_row(const NormRowArgs& args) {
  const RowNorm norm = measure_row(args);
  if (args.output == NormOutput::kI8) return norm_row_to_int8(args, norm);
  for (int64_t c = 0; c < args.cols; c += kLanes) {
    if (args.output == NormOutput::kBF16) {
      store(static_cast<uint16_t*>(args.out), c, args.cols, norm_value(args, norm, c));
    } else {
      store(static_cast<float*>(args.out), c, args.cols, norm_value(args, norm, c));
    }
  }
}

template <typename T>
inline void gated_residual_row(const ResidualRowArgs& args, const T* y) {
  const int64_t cols = args.cols;
  const Floats inverse = all(inverse_root(sum_of_squares(y, cols), cols, args.eps));
  for (int64_t c = 0; c < cols; c += kLanes) {
    const Floats normed = mul(mul(load(y, c, cols), inverse), load(args.weight, c, cols));
    store(args.h, c, cols, mul_add(load(args.gate, c, cols), normed, load(args.h, c, cols)));
  }
}

template <typename T>
inline void heads_norm_rope(const HeadsNormRopeArgs& args, T* x) {
  const int64_t half = args.head_dim / 2;
  for (int64_t h = 0; h < args.heads; ++h, x += args.head_dim) {
    T* first = x;
    T* second = x + half;
    Floats sum_first = all(0.0f);
    Floats sum_second = all(0.0f);
    for (int64_t j = 0; j < half; j += kLanes) {
      const Floats a = load(first, j, half);
      const Floats b = load(second, j, half);
      sum_first = mul_add(a, a, sum_first);
      sum_second = mul_add(b, b, sum_second);
    }
    Doubles total;
    accumulate(total, add(sum_first, sum_second));
    const Floats inverse = all(inverse_root(fold(total), args.head_dim, args.eps));
    for (int64_t j = 0; j < half; j += kLanes) {
      const Floats a = mul(mul(load(first, j, half), inverse), load(args.weight, j, half));
      const Floats b = mul(mul(load(second, j, half), inverse), load(args.weight + half, j, half));
      const Floats cosine = load(args.cosine, j, half);
      const Floats sine = load(args.sine, j, half);
      store(first, j, half, mul_sub(a, cosine, mul(b, sine)));
      store(second, j, half, mul_add(b, cosine, mul(a, sine)));
    }
  }
}

}  // namespace
}  // namespace intaglio
