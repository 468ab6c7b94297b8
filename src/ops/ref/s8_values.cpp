// Reference of quantize_values: plain loops in float, one rounding an operation.
#include <algorithm>
#include <bit>
#include <cmath>

#include "ops/cpu/quantize_scale.h"
#include "ops/s8_values_implementations.h"

namespace intaglio::ref {
namespace {

// One channel: `load(s)` is its value at token s; `group_stride`: bytes from group to group.
template <typename Load>
void quantize_channel(int64_t tokens, int8_t* values, int64_t group_stride, float* scale,
                      float* mean, Load&& load) {
  float total = 0.0f;
  for (int64_t first = 0; first < tokens; first += kS8MeanTokens) {
    float sum = 0.0f;
    for (int64_t s = first; s < std::min(tokens, first + kS8MeanTokens); ++s) sum += load(s);
    total += sum;
  }
  *mean = total / static_cast<float>(tokens);
  uint32_t magnitude = 0;
  for (int64_t s = 0; s < tokens; ++s)
    magnitude = std::max(magnitude, std::bit_cast<uint32_t>(load(s) - *mean) & 0x7fffffffu);
  const RowScale row = row_scale(magnitude);
  *scale = row.scale;
  for (int64_t first = 0; first < tokens; first += kS8ValueKeys, values += group_stride) {
    for (int position = 0; position < kS8ValueKeys; ++position) {
      const int64_t s = first + s8_value_key(position);
      const float x = s < tokens && row.factor != 0.0f ? (load(s) - *mean) * row.factor : 0.0f;
      values[position] = static_cast<int8_t>(std::clamp(std::nearbyint(x), -127.0f, 127.0f));
    }
  }
}

template <typename T>
void quantize(const QuantizeValues& op, const T* v) {
  const int64_t group_stride = op.head_dim * kS8ValueKeys;
  const int64_t head_stride = (op.tokens + kS8ValueKeys - 1) / kS8ValueKeys * group_stride;
  for (int64_t h = 0; h < op.kv_heads; ++h) {
    for (int64_t c = 0; c < op.head_dim; ++c) {
      const int64_t channel = h * op.head_dim + c;
      quantize_channel(op.tokens, op.out.values + h * head_stride + c * kS8ValueKeys, group_stride,
                       op.out.scale + channel, op.out.mean + channel,
                       [&](int64_t s) { return static_cast<float>(v[s * op.ldv + channel]); });
    }
  }
}

}  // namespace

Status quantize_values(const Context&, const QuantizeValues& op) {
  if (op.dtype == DType::kBF16) {
    quantize(op, static_cast<const BFloat16*>(op.v));
  } else {
    quantize(op, static_cast<const float*>(op.v));
  }
  return {};
}

}  // namespace intaglio::ref
