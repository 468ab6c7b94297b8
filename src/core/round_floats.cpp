#include "core/round_floats.h"

#include <cstring>

namespace intaglio {
namespace {

template <typename T>
void round_elements(const float* source, void* target, size_t count) {
  auto* bytes = static_cast<unsigned char*>(target);
  for (size_t i = 0; i < count; ++i) {
    const T value(source[i]);
    std::memcpy(bytes + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

void convert_from_f32(const float* source, DType target_dtype, void* target, size_t count) {
  if (target_dtype == DType::kF16) return round_elements<Float16>(source, target, count);
  if (target_dtype == DType::kBF16) return round_elements<BFloat16>(source, target, count);
  round_elements<float>(source, target, count);
}

}  // namespace intaglio
