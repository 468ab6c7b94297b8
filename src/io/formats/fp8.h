// Numbers of eight bits, by their byte. Exact in float.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "io/safetensors.h"

namespace intaglio {

using ByteValues = std::array<float, 256>;

// e4m3fn: bias 7, 0x7F and 0xFF NaN, no infinity, largest 448.
const ByteValues& e4m3_values();
// e5m2: the upper byte of a half; it has infinities.
const ByteValues& e5m2_values();
// e8m0: byte b is 2^(b - 127); 0 stands for 0 and 255 for NaN.
const ByteValues& e8m0_values();

// Those of F8_E4M3 or F8_E5M2.
const ByteValues& values_of_fp8(DType dtype);
inline bool is_fp8(DType dtype) { return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2; }

void convert_bytes(std::span<const std::byte> bytes, const ByteValues& values, float* out);

// As read_floats, and F8_E4M3 and F8_E5M2 too.
Expected<std::vector<float>> read_floats_or_fp8(const TensorEntry& entry);

}  // namespace intaglio
