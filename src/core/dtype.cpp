#include "core/dtype.h"

#include <array>
#include <cmath>
#include <cstring>

namespace intaglio {
namespace {

struct DTypeInfo {
  DType dtype;
  size_t size;
  std::string_view name;
};

constexpr std::array<DTypeInfo, 15> kDTypes{{
    {DType::kF64, 8, "F64"},
    {DType::kF32, 4, "F32"},
    {DType::kF16, 2, "F16"},
    {DType::kBF16, 2, "BF16"},
    {DType::kI64, 8, "I64"},
    {DType::kI32, 4, "I32"},
    {DType::kI16, 2, "I16"},
    {DType::kI8, 1, "I8"},
    {DType::kU8, 1, "U8"},
    {DType::kBool, 1, "BOOL"},
    {DType::kF8E4M3, 1, "F8_E4M3"},
    {DType::kF8E5M2, 1, "F8_E5M2"},
    {DType::kU16, 2, "U16"},
    {DType::kU32, 4, "U32"},
    {DType::kU64, 8, "U64"},
}};

template <typename T>
void convert_elements(const void* source, float* target, size_t count) {
  const auto* bytes = static_cast<const unsigned char*>(source);
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
    target[i] = static_cast<float>(value);
  }
}

// Exact. Bias 7; the lower seven bits 0x7F are NaN, those below 8 count steps of 2^-9. Without
// branches, so that compilers make vectors of it.
void convert_e4m3(const void* source, float* target, size_t count) {
  const auto* const bytes = static_cast<const uint8_t*>(source);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t byte = bytes[i], magnitude = byte & 0x7Fu;
    const uint32_t normal = (magnitude << 20) + (120u << 23);
    const auto small =
        std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f);
    const uint32_t value = magnitude < 8u ? small : magnitude == 0x7Fu ? 0x7FC00000u : normal;
    target[i] = std::bit_cast<float>(value | (byte & 0x80u) << 24);
  }
}

}  // namespace

size_t dtype_size(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].size; }
std::string_view dtype_name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

Float16::Float16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    bits = sign | 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
    bits = sign | 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal half: let the float adder do the rounding
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    bits = sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  } else {
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    bits = sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
  }
}

Float16::operator float() const {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

bool is_float(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

void convert_to_f32(const void* source, DType source_dtype, float* target, size_t count) {
  switch (source_dtype) {
    case DType::kF64:
      convert_elements<double>(source, target, count);
      break;
    case DType::kF32:
      if (count > 0)
        std::memcpy(target, source, count * sizeof(float));  // an empty vector gives a null pointer
      break;
    case DType::kF16:
      convert_elements<Float16>(source, target, count);
      break;
    case DType::kBF16:
      convert_elements<BFloat16>(source, target, count);
      break;
    case DType::kF8E4M3:
      convert_e4m3(source, target, count);
      break;
    default:
      break;
  }
}

}  // namespace intaglio
