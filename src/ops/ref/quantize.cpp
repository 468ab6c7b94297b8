// Reference of quantize_rows: plain loops in float, one rounding an operation.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

#include "core/dtype.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"
#include "quant/rotation.h"

namespace intaglio {
namespace {

template <typename Load>
float quantize_row(int64_t cols, int8_t* q, Load&& load) {
  uint32_t magnitude = 0;
  for (int64_t c = 0; c < cols; ++c)
    magnitude = std::max(magnitude, std::bit_cast<uint32_t>(load(c)) & 0x7fffffffu);
  const RowScale row = row_scale(magnitude);
  if (row.factor == 0.0f) {
    std::memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  for (int64_t c = 0; c < cols; ++c) {
    q[c] = static_cast<int8_t>(std::clamp(std::nearbyint(load(c) * row.factor), -127.0f, 127.0f));
  }
  return row.scale;
}

float as_float(float x) { return x; }
float as_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

template <typename T>
float smooth_quantize_row(const T* x, const float* smooth, int64_t cols, int8_t* q) {
  return quantize_row(cols, q, [=](int64_t c) { return as_float(x[c]) / smooth[c]; });
}

// A group is rotated when its first column is asked for; columns are asked for in order, twice.
template <typename T>
float rotate_quantize_row(const T* x, int64_t group, int64_t cols, int8_t* q) {
  float rotated[std::end(kRotationGroups)[-1]];
  return quantize_row(cols, q, [&](int64_t c) {
    const int64_t at = c % group;
    if (at == 0) {
      for (int64_t i = 0; i < group; ++i) rotated[i] = as_float(x[c + i]);
      rotate_row(rotated, group, group);
    }
    return rotated[at];
  });
}

}  // namespace

void ref_map_bytes(const uint8_t* x, const int8_t* table, int64_t cols, int8_t* q) {
  for (int64_t c = 0; c < cols; ++c) {
    const int value = table[x[c] % kE4m3Magnitudes];
    q[c] = static_cast<int8_t>(x[c] >= kE4m3Magnitudes ? -value : value);
  }
}

float ref_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(cols, q, [x](int64_t c) { return x[c]; });
}

float ref_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(cols, q, [x](int64_t c) { return as_float(x[c]); });
}

float ref_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}

float ref_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols,
                                   int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}

float ref_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}

float ref_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}

}  // namespace intaglio
