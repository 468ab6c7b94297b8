#include "quant/int8_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace intaglio {
namespace {

constexpr float kLeastScale = 1e-30f;

template <typename T>
float rounded(float value) {
  return static_cast<float>(T(value));
}

template <typename T>
constexpr float smallest_normal() {
  return std::is_same_v<T, Float16> ? 0x1p-14f : std::numeric_limits<float>::min();
}

template <typename T>
void quantize(int64_t cols, const Rotation& rotation, float* work, int8_t* q, float* scale) {
  if (rotation.kind == RotationKind::kConvRot) {
    rotate_row(work, cols, rotation.group);
    for (int64_t c = 0; c < cols; ++c) work[c] = rounded<T>(work[c]);
  }
  float absmax = 0.0f;
  for (int64_t c = 0; c < cols; ++c) absmax = std::max(absmax, std::fabs(work[c]));
  *scale = std::max(absmax / 127.0f, kLeastScale);
  float divisor = rounded<T>(*scale);
  if (divisor == 0.0f) divisor = smallest_normal<T>();
  for (int64_t c = 0; c < cols; ++c) {
    const float quotient = std::nearbyint(rounded<T>(work[c] / divisor));
    q[c] = std::isnan(quotient) ? 0 : static_cast<int8_t>(std::clamp(quotient, -128.0f, 127.0f));
  }
}

}  // namespace

Rotation largest_rotation(int64_t cols, int64_t most) {
  Rotation found;
  for (const int64_t group : kRotationGroups)
    if (group <= most && rotation_refusal(cols, group) == nullptr) found = Rotation::convrot(group);
  return found;
}

void quantize_stored_row(const void* w, DType dtype, int64_t cols, const Rotation& rotation,
                         float* work, int8_t* q, float* scale) {
  convert_to_f32(w, dtype, work, static_cast<size_t>(cols));
  if (dtype == DType::kF16) return quantize<Float16>(cols, rotation, work, q, scale);
  if (dtype == DType::kBF16) return quantize<BFloat16>(cols, rotation, work, q, scale);
  quantize<float>(cols, rotation, work, q, scale);
}

}  // namespace intaglio
