// Reference of quantize_rows: plain loops in float, one rounding an operation.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/dtype.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

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

}  // namespace

float ref_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(cols, q, [x](int64_t c) { return x[c]; });
}

float ref_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(
      cols, q, [x](int64_t c) { return std::bit_cast<float>(static_cast<uint32_t>(x[c]) << 16); });
}

}  // namespace intaglio
