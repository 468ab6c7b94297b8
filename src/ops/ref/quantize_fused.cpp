#include "ops/ref/quantize_fused.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "ops/cpu/quantize_scale.h"

namespace intaglio {

void ref_rms_norm_row(const float* x, const float* weight, const float* modulation, float eps,
                      int64_t cols, float* y) {
  double squares = 0.0;
  for (int64_t c = 0; c < cols; ++c) squares += static_cast<double>(x[c]) * x[c];
  const auto inverse = static_cast<float>(
      1.0 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(eps)));
  for (int64_t c = 0; c < cols; ++c) {
    float value = x[c] * inverse;
    if (weight != nullptr) value *= weight[c];
    if (modulation != nullptr) value *= 1.0f + modulation[c];
    y[c] = value;
  }
}

void ref_swiglu_row(const float* x, bool interleaved, int64_t cols, float* y) {
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t gate_column = interleaved ? 32 * (c / 16) + c % 16 : c;
    const float gate = x[gate_column];
    const float up = x[interleaved ? gate_column + 16 : cols + c];
    y[c] = gate / (1.0f + std::exp(-gate)) * up;
  }
}

float ref_quantize_row_known(const float* x, float absmax, int64_t cols, int8_t* q) {
  const RowScale row = row_scale(std::bit_cast<uint32_t>(absmax) & 0x7fffffffu);
  if (row.factor == 0.0f) {
    std::memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  for (int64_t c = 0; c < cols; ++c)
    q[c] = static_cast<int8_t>(std::clamp(std::nearbyint(x[c] * row.factor), -127.0f, 127.0f));
  return row.scale;
}

}  // namespace intaglio
