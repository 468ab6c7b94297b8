#include "io/formats/fp8.h"

#include <cmath>
#include <limits>

namespace intaglio {
namespace {

template <typename Value>
ByteValues tabulated(Value&& value) {
  ByteValues values{};
  for (size_t byte = 0; byte < values.size(); ++byte) values[byte] = value(static_cast<int>(byte));
  return values;
}

float e4m3_value(int byte) {
  const int exponent = (byte >> 3) & 15, mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (byte & 0x80) != 0 ? -magnitude : magnitude;
}

float e5m2_value(int byte) {
  Float16 half;
  half.bits = static_cast<uint16_t>(byte << 8);
  return static_cast<float>(half);
}

float e8m0_value(int byte) {
  if (byte == 0) return 0.0f;
  return byte == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, byte - 127);
}

}  // namespace

const ByteValues& e4m3_values() {
  static const ByteValues values = tabulated(e4m3_value);
  return values;
}

const ByteValues& e5m2_values() {
  static const ByteValues values = tabulated(e5m2_value);
  return values;
}

const ByteValues& e8m0_values() {
  static const ByteValues values = tabulated(e8m0_value);
  return values;
}

const ByteValues& values_of_fp8(DType dtype) {
  return dtype == DType::kF8E4M3 ? e4m3_values() : e5m2_values();
}

void convert_bytes(std::span<const std::byte> bytes, const ByteValues& values, float* out) {
  for (const std::byte byte : bytes) *out++ = values[static_cast<size_t>(byte)];
}

Expected<std::vector<float>> read_floats_or_fp8(const TensorEntry& entry) {
  if (!entry.foreign.empty() || !is_fp8(entry.view.dtype)) return read_floats(entry);
  INTAGLIO_ASSIGN(const Tensor tensor, read_tensor(entry));
  std::vector<float> values(tensor.view.size_bytes());
  convert_bytes({tensor.view.as<std::byte>(), values.size()}, values_of_fp8(entry.view.dtype),
                values.data());
  return values;
}

}  // namespace intaglio
