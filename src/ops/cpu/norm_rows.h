// The row kernels of norm, gated_residual and qk_norm_rope, written once over the 16-float pieces
// (Floats, load, store, ...) that the including file's instruction set has defined before. Internal
// linkage: each set of flags gets its own copy.
#pragma once

#include <cstddef>
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

// Calls body(c, Whole or Part) for each vector of a row.
template <typename Body>
inline void each_vector(int64_t cols, Body&& body) {
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) body(c, Whole{});
  if (c < cols) body(c, Part{cols - c});
}

// Sum over a row of step(accumulator, c, lanes): float in 64 lanes, float64 from one stretch of
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
      for (int i = 0; i < 4; ++i) part[i] = step(part[i], c + i * kLanes, Whole{});
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int64_t left = end - c - i * kLanes;
      if (left >= kLanes) {
        part[i] = step(part[i], c + i * kLanes, Whole{});
      } else if (left > 0) {
        part[i] = step(part[i], c + i * kLanes, Part{left});
      }
    }
    accumulate(total, add(add(part[0], part[1]), add(part[2], part[3])));
  }
  return fold(total);
}

template <typename T>
inline double sum_of_squares(const T* x, int64_t cols) {
  return sum_row(cols, [=](Floats sum, int64_t c, auto lanes) {
    const Floats v = load(x + c, lanes);
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
  // Summed as differences from the first element, so that the float lanes do not round away the
  // digits of a large mean.
  const Floats origin = all(x[0]);
  const double sum = sum_row(cols, [=](Floats part, int64_t c, auto lanes) {
    return add(part, inside(sub(load(x + c, lanes), origin), lanes));
  });
  const double mean = static_cast<double>(x[0]) + sum / static_cast<double>(cols);
  norm.mean_high = static_cast<float>(mean);
  norm.mean_low = static_cast<float>(mean - static_cast<double>(norm.mean_high));
  const Floats high = all(norm.mean_high);
  const Floats low = all(norm.mean_low);
  const double squares = sum_row(cols, [=](Floats part, int64_t c, auto lanes) {
    const Floats d = inside(sub(sub(load(x + c, lanes), high), low), lanes);
    return mul_add(d, d, part);
  });
  norm.inverse = inverse_root(squares, cols, args.eps);
  return norm;
}

// Calls body(c, lanes, normalized values) over a row. Which of the parts a row has is decided once,
// outside the loop.
template <bool kLayer, bool kWeight, bool kModulation, bool kShift, typename Body>
inline void each_value(const NormRowArgs& args, const RowNorm& norm, Body&& body) {
  const float* x = args.x;
  const float* weight = args.weight;
  const float* modulation = args.modulation;
  const float* shift = args.shift;
  const Floats high = all(norm.mean_high);
  const Floats low = all(norm.mean_low);
  const Floats inverse = all(norm.inverse);
  each_vector(args.cols, [=](int64_t c, auto lanes) {
    Floats y = load(x + c, lanes);
    if constexpr (kLayer) y = inside(sub(sub(y, high), low), lanes);
    y = mul(y, inverse);
    if constexpr (kWeight) y = mul(y, load(weight + c, lanes));
    if constexpr (kModulation) y = mul(y, add(all(1.0f), load(modulation + c, lanes)));
    if constexpr (kShift) y = add(y, load(shift + c, lanes));
    body(c, lanes, y);
  });
}

template <bool kLayer, bool kWeight, bool kModulation, bool kShift>
inline void write_row(const NormRowArgs& args, const RowNorm& norm) {
  constexpr auto each = [](const NormRowArgs& a, const RowNorm& n, auto&& body) {
    each_value<kLayer, kWeight, kModulation, kShift>(a, n, body);
  };
  if (args.output == DType::kF32) {
    float* out = static_cast<float*>(args.out);
    return each(args, norm, [=](int64_t c, auto lanes, Floats y) { store(out + c, lanes, y); });
  }
  if (args.output == DType::kBF16) {
    uint16_t* out = static_cast<uint16_t*>(args.out);
    return each(args, norm, [=](int64_t c, auto lanes, Floats y) { store(out + c, lanes, y); });
  }
  // ops/quantize.h on the values of the row, which are formed twice rather than stored: x is in L1.
  constexpr int32_t kInfinity = 0x7f800000;
  int8_t* q = static_cast<int8_t*>(args.out);
  Magnitudes magnitudes = no_magnitudes();
  each(args, norm, [&](int64_t, auto, Floats y) { magnitudes = larger_magnitudes(magnitudes, y); });
  const int32_t bits = largest(magnitudes);
  if (bits == 0 || bits >= kInfinity) {
    __builtin_memset(q, 0, static_cast<size_t>(args.cols));
    *args.scale = bits == 0 ? 1e-30f : __builtin_nanf("");
    return;
  }
  float absmax;
  __builtin_memcpy(&absmax, &bits, sizeof(absmax));
  const Floats multiplier = all(127.0f / absmax);
  each(args, norm,
       [=](int64_t c, auto lanes, Floats y) { store(q + c, lanes, mul(y, multiplier)); });
  const float scale = absmax / 127.0f;
  *args.scale = scale > 1e-30f ? scale : 1e-30f;
}

// A row's parts become template arguments one after the other.
template <bool... kParts>
inline void write_parts(const NormRowArgs& args, const RowNorm& norm) {
  const bool parts[] = {args.layer, args.weight != nullptr, args.modulation != nullptr,
                        args.shift != nullptr};
  constexpr size_t kDecided = sizeof...(kParts);
  if constexpr (kDecided == sizeof(parts)) {
    write_row<kParts...>(args, norm);
  } else if (parts[kDecided]) {
    write_parts<kParts..., true>(args, norm);
  } else {
    write_parts<kParts..., false>(args, norm);
  }
}

inline void norm_row(const NormRowArgs& args) { write_parts<>(args, measure_row(args)); }

template <bool kNormed, bool kWeight, bool kGate, typename T>
inline void update_row(const ResidualRowArgs& args, const T* y) {
  Floats inverse = all(1.0f);
  if constexpr (kNormed)
    inverse = all(inverse_root(sum_of_squares(y, args.cols), args.cols, args.eps));
  float* h = args.h;
  const float* weight = args.weight;
  const float* gate = args.gate;
  each_vector(args.cols, [=](int64_t c, auto lanes) {
    Floats v = load(y + c, lanes);
    if constexpr (kNormed) v = mul(v, inverse);
    if constexpr (kWeight) v = mul(v, load(weight + c, lanes));
    if constexpr (kGate) {
      v = mul_add(load(gate + c, lanes), v, load(h + c, lanes));
    } else {
      v = add(v, load(h + c, lanes));
    }
    store(h + c, lanes, v);
  });
}

template <bool... kParts, typename T>
inline void gated_residual_row(const ResidualRowArgs& args, const T* y) {
  const bool parts[] = {args.normed, args.weight != nullptr, args.gate != nullptr};
  constexpr size_t kDecided = sizeof...(kParts);
  if constexpr (kDecided == sizeof(parts)) {
    update_row<kParts...>(args, y);
  } else if (parts[kDecided]) {
    gated_residual_row<kParts..., true>(args, y);
  } else {
    gated_residual_row<kParts..., false>(args, y);
  }
}

// How the heads of an operand turn.
enum class Turn { kNot, kHalves, kAdjacent };

// 1 / root mean square of a head. Its two halves are summed side by side, whatever turns together.
template <typename T>
inline float head_inverse(const HeadsNormRopeArgs& args, const T* head) {
  const int64_t half = args.head_dim / 2;
  Floats sum_first = all(0.0f);
  Floats sum_second = all(0.0f);
  each_vector(half, [&](int64_t j, auto lanes) {
    const Floats a = load(head + j, lanes);
    const Floats b = load(head + half + j, lanes);
    sum_first = mul_add(a, a, sum_first);
    sum_second = mul_add(b, b, sum_second);
  });
  Doubles total;
  accumulate(total, add(sum_first, sum_second));
  return inverse_root(fold(total), args.head_dim, args.eps);
}

// The head normed and turned. What there is to do is decided once, outside the loops over heads and
// channels.
template <bool kNormed, Turn kTurn, typename T>
inline void head_norm_rope(const HeadsNormRopeArgs& args, T* x) {
  Floats inverse = all(1.0f);
  if constexpr (kNormed) inverse = all(head_inverse(args, x));
  const float* weight = args.weight;
  const float* cosines = args.cosine;
  const float* sines = args.sine;
  const auto normed = [=](int64_t c, auto lanes) {
    Floats v = load(x + c, lanes);
    if constexpr (kNormed) v = mul(mul(v, inverse), load(weight + c, lanes));
    return v;
  };
  if constexpr (kTurn == Turn::kHalves) {
    const int64_t half = args.head_dim / 2;
    each_vector(half, [=](int64_t j, auto lanes) {
      const Floats a = normed(j, lanes);
      const Floats b = normed(half + j, lanes);
      const Floats cosine = load(cosines + j, lanes);
      const Floats sine = load(sines + j, lanes);
      store(x + j, lanes, mul_sub(a, cosine, mul(b, sine)));
      store(x + half + j, lanes, mul_add(b, cosine, mul(a, sine)));
    });
  } else if constexpr (kTurn == Turn::kAdjacent) {
    each_vector(args.head_dim, [=](int64_t c, auto lanes) {
      const Floats v = normed(c, lanes);
      const Floats cosine = load_doubled(cosines + c / 2, lanes);
      const Floats sine = load_doubled(sines + c / 2, lanes);
      store(x + c, lanes, mul_sub_add(v, cosine, mul(swap_pairs(v), sine)));
    });
  } else {
    each_vector(args.head_dim,
                [=](int64_t c, auto lanes) { store(x + c, lanes, normed(c, lanes)); });
  }
}

template <bool kNormed, Turn kTurn, typename T>
inline void each_head(const HeadsNormRopeArgs& args, T* x) {
  for (int64_t h = 0; h < args.heads; ++h)
    head_norm_rope<kNormed, kTurn>(args, x + h * args.head_dim);
}

template <typename T>
inline void heads_norm_rope(const HeadsNormRopeArgs& args, T* x) {
  const bool normed = args.weight != nullptr;
  if (args.cosine == nullptr) {
    if (normed) each_head<true, Turn::kNot>(args, x);
  } else if (args.adjacent) {
    normed ? each_head<true, Turn::kAdjacent>(args, x) : each_head<false, Turn::kAdjacent>(args, x);
  } else {
    normed ? each_head<true, Turn::kHalves>(args, x) : each_head<false, Turn::kHalves>(args, x);
  }
}

}  // namespace
}  // namespace intaglio
