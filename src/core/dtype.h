// Element types and their conversions. bf16 and fp16 are storage types here: arithmetic happens in
// float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace intaglio {

enum class DType : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kF8E4M3,
  kF8E5M2,
  kU16,
  kU32,
  kU64
};

// Size of one element in bytes.
size_t dtype_size(DType dtype);
// The safetensors name: "F32", "BF16", "I8", "F8_E4M3", ...
std::string_view dtype_name(DType dtype);
// The type of a safetensors name; nullopt if unknown.
std::optional<DType> dtype_from_name(std::string_view name);

struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  // Rounds to nearest even; NaN stays NaN.
  explicit BFloat16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((u >> 16) | 0x0040u);
    } else {
      bits = static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

struct Float16 {
  uint16_t bits = 0;

  Float16() = default;
  explicit Float16(float value);  // rounds to nearest even; overflow gives infinity
  explicit operator float() const;
};

static_assert(sizeof(BFloat16) == 2 && sizeof(Float16) == 2);

// The DType of a C++ element type.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <typename T>
inline constexpr DType kDTypeOf = DTypeOf<T>::value;

// Converts `count` elements to float. `source` may be unaligned. Only F64, F32, F16 and BF16 are
// floats.
bool is_float(DType dtype);
void convert_to_f32(const void* source, DType source_dtype, float* target, size_t count);

}  // namespace intaglio
