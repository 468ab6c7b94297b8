// The row passes as plain loops for the compiler to vectorise. Each instruction-set folder includes
// this once with its own flags; nothing here may leave the translation unit.
#pragma once

#include <cstdint>

#include "ops/cpu/activation_loops.h"
#include "ops/cpu/float_row_kernels.h"

namespace intaglio::cpu {
namespace {

inline float widen_bits(uint16_t x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16);
}

inline uint16_t narrow_bits(float x) {
  const uint32_t u = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t nan = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

struct FloatIo {
  using Type = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};

struct Bf16Io {
  using Type = uint16_t;
  static float load(uint16_t x) { return widen_bits(x); }
  static uint16_t store(float x) { return narrow_bits(x); }
};

// kWidth channels at a time, so that their sums stay in registers over the rows.
template <typename Io, int kWidth>
inline void sum_channels(const typename Io::Type* x, int64_t rows, int64_t stride,
                         const float* center, float* sum, float* square) {
  float s[kWidth] = {};
  float q[kWidth] = {};
  for (int64_t r = 0; r < rows; ++r) {
    for (int c = 0; c < kWidth; ++c) {
      const float d = Io::load(x[r * stride + c]) - center[c];
      s[c] += d;
      q[c] += d * d;
    }
  }
  for (int c = 0; c < kWidth; ++c) {
    sum[c] = s[c];
    square[c] = q[c];
  }
}

template <typename Io>
inline void channel_sums_of(const void* data, int64_t rows, int64_t channels, const float* center,
                            float* sum, float* square) {
  const auto* x = static_cast<const typename Io::Type*>(data);
  int64_t c = 0;
  if (channels % 32 != 0) {  // three vectors keep the adders busier than two and one
    for (; c + 48 <= channels && (channels - c) % 32 != 0; c += 48)
      sum_channels<Io, 48>(x + c, rows, channels, center + c, sum + c, square + c);
  }
  for (; c + 32 <= channels; c += 32)
    sum_channels<Io, 32>(x + c, rows, channels, center + c, sum + c, square + c);
  for (; c + 16 <= channels; c += 16)
    sum_channels<Io, 16>(x + c, rows, channels, center + c, sum + c, square + c);
  for (; c + 8 <= channels; c += 8)
    sum_channels<Io, 8>(x + c, rows, channels, center + c, sum + c, square + c);
  for (; c < channels; ++c)
    sum_channels<Io, 1>(x + c, rows, channels, center + c, sum + c, square + c);
}

void channel_sums(const void* x, bool bf16, int64_t rows, int64_t channels, const float* center,
                  float* sum, float* square) {
  if (bf16) {
    channel_sums_of<Bf16Io>(x, rows, channels, center, sum, square);
  } else {
    channel_sums_of<FloatIo>(x, rows, channels, center, sum, square);
  }
}

template <typename Io, bool kSilu>
inline void scale_shift_of(const ScaleShift& g) {
  for (int64_t r = 0; r < g.rows; ++r) {
    const auto* x = static_cast<const typename Io::Type*>(g.x) + r * g.channels;
    auto* y = static_cast<typename Io::Type*>(g.y) + r * g.channels;
    const float* scale = g.scale;
    const float* shift = g.shift;
    // Element by element, so x and y may be the same row.
#pragma GCC ivdep
    for (int64_t c = 0; c < g.channels; ++c) {
      const float v = Io::load(x[c]) * scale[c] + shift[c];
      y[c] = Io::store(kSilu ? activate<LoopMath>(Silu{}, v) : v);
    }
  }
}

void scale_shift(const ScaleShift& g) {
  if (g.bf16) {
    g.silu ? scale_shift_of<Bf16Io, true>(g) : scale_shift_of<Bf16Io, false>(g);
  } else {
    g.silu ? scale_shift_of<FloatIo, true>(g) : scale_shift_of<FloatIo, false>(g);
  }
}

template <typename In, typename Out>
inline void epilogue_of(const EpilogueRow& e) {
  auto* y = static_cast<typename Out::Type*>(e.out);
  visit_epilogue(e.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    const auto* x = static_cast<const typename In::Type*>(e.product);
    const auto* up = x + e.outputs;
#pragma GCC ivdep
    for (int64_t c = 0; c < e.outputs; ++c) {
      const float v = activate<LoopMath>(typename Epilogue::Function{}, In::load(x[c]));
      if constexpr (Epilogue::kGated) {
        y[c] = Out::store(v * In::load(up[c]));
      } else {
        y[c] = Out::store(v);
      }
    }
  });
}

void epilogue(const EpilogueRow& e) {
  if (e.bf16_product) {
    e.bf16_out ? epilogue_of<Bf16Io, Bf16Io>(e) : epilogue_of<Bf16Io, FloatIo>(e);
  } else {
    e.bf16_out ? epilogue_of<FloatIo, Bf16Io>(e) : epilogue_of<FloatIo, FloatIo>(e);
  }
}

template <typename Io, bool kSilu>
inline void pixel_norm_of(const PixelNormRows& n) {
  constexpr int kLanes = 16;
  for (int64_t r = 0; r < n.rows; ++r) {
    const auto* x = static_cast<const typename Io::Type*>(n.x) + r * n.channels;
    auto* y = static_cast<typename Io::Type*>(n.y) + r * n.channels;
    float lane[kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= n.channels; c += kLanes) {
      for (int l = 0; l < kLanes; ++l) {
        const float v = Io::load(x[c + l]);
        lane[l] += v * v;
      }
    }
    for (; c < n.channels; ++c) {
      const float v = Io::load(x[c]);
      lane[0] += v * v;
    }
    float squares = 0.0f;
    for (const float l : lane) squares += l;
    const float norm = __builtin_sqrtf(squares);
    const float factor = n.root / (norm < n.least ? n.least : norm);
    const float* weight = n.weight;
    // Element by element, so x and y may be the same row.
#pragma GCC ivdep
    for (int64_t i = 0; i < n.channels; ++i) {
      const float v = Io::load(x[i]) * factor * weight[i];
      y[i] = Io::store(kSilu ? activate<LoopMath>(Silu{}, v) : v);
    }
  }
}

void pixel_norm(const PixelNormRows& n) {
  if (n.bf16) {
    n.silu ? pixel_norm_of<Bf16Io, true>(n) : pixel_norm_of<Bf16Io, false>(n);
  } else {
    n.silu ? pixel_norm_of<FloatIo, true>(n) : pixel_norm_of<FloatIo, false>(n);
  }
}

template <typename Io>
inline void gate_of(const GateRow& g) {
  auto* x = static_cast<typename Io::Type*>(g.x);
  const auto* gate = static_cast<const typename Io::Type*>(g.gate);
#pragma GCC ivdep
  for (int64_t c = 0; c < g.cols; ++c)
    x[c] = Io::store(Io::load(x[c]) * activate<LoopMath>(Sigmoid{}, Io::load(gate[c])));
}

void gate(const GateRow& g) { g.bf16 ? gate_of<Bf16Io>(g) : gate_of<FloatIo>(g); }

void softmax(float* x, int64_t count, float scale, void* out, bool bf16_out) {
  constexpr int kLanes = 16;
  float lane[kLanes];
  for (float& m : lane) m = x[0];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  }
  for (; i < count; ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  float top = lane[0];
  for (int l = 1; l < kLanes; ++l) top = lane[l] > top ? lane[l] : top;
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) x[j] = exp_fast((x[j] - top) * scale);
  for (float& m : lane) m = 0.0f;
  for (i = 0; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] += x[i + l];
  }
  for (; i < count; ++i) lane[0] += x[i];
  float sum = 0.0f;
  for (const float m : lane) sum += m;
  const float inverse = 1.0f / sum;
  if (bf16_out) {
    auto* y = static_cast<uint16_t*>(out);
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) y[j] = narrow_bits(x[j] * inverse);
  } else {
    auto* y = static_cast<float*>(out);
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) y[j] = x[j] * inverse;
  }
}

void widen(const uint16_t* x, int64_t count, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = widen_bits(x[i]);
}

void narrow(const float* x, int64_t count, uint16_t* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = narrow_bits(x[i]);
}

void dequantize(const int8_t* q, float scale, int64_t count, uint16_t* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = narrow_bits(static_cast<float>(q[i]) * scale);
}

constexpr FloatRowKernels kLoops{.channel_sums = channel_sums,
                                 .scale_shift = scale_shift,
                                 .epilogue = epilogue,
                                 .pixel_norm = pixel_norm,
                                 .gate = gate,
                                 .softmax = softmax,
                                 .widen = widen,
                                 .narrow = narrow,
                                 .dequantize = dequantize};

}  // namespace
}  // namespace intaglio::cpu
