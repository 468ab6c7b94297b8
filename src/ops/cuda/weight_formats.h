// Weight-only formats that checkpoints come in, as index arithmetic and formulas for host and
// device.
//
//   int8   w8 [n, ldw] int8, scale [n]                      w[n, k] = w8[n, k] * scale[n]
//   NF4    bitsandbytes: the tensor as one run of n * k values, row after row, in blocks of 64; a float absmax a block;
//          a 4-bit code a value, two a byte, the first in the high nibble.      w[i] = nf4_value(code[i]) * absmax[i / 64]
//          Codes: Dettmers et al., "QLoRA", arXiv 2305.14314, appendix E: quantiles of a normal
//          distribution, scaled to [-1, 1].
//   Q8_0   GGML: each row in blocks of 32 values (k % 32 == 0), 34 bytes a block: a float16 scale d, then 32 int8.
//                                                           w[i] = q[i] * d[i / 32]
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio::cuda {

enum class WeightFormat : int32_t { kI8, kNf4, kQ8_0 };

inline constexpr int64_t kNf4Block = 64;        // values that share an absmax
inline constexpr int kNf4Codes = 16;            // values a code can take
inline constexpr int64_t kQ8_0Block = 32;       // values that share a scale
inline constexpr int64_t kQ8_0BlockBytes = 34;  // 2 of the scale, 32 of the values
inline constexpr int64_t kQ8_0ScaleBytes = 2;

INTAGLIO_HOST_DEVICE constexpr int64_t nf4_code_bytes(int64_t count) { return (count + 1) / 2; }
INTAGLIO_HOST_DEVICE constexpr int64_t nf4_blocks(int64_t count) {
  return (count + kNf4Block - 1) / kNf4Block;
}
INTAGLIO_HOST_DEVICE constexpr int64_t q8_0_bytes(int64_t count) {
  return count / kQ8_0Block * kQ8_0BlockBytes;
}
// Byte of value i, and of the scale of its block.
INTAGLIO_HOST_DEVICE constexpr int64_t q8_0_value_offset(int64_t i) {
  return i / kQ8_0Block * kQ8_0BlockBytes + kQ8_0ScaleBytes + i % kQ8_0Block;
}
INTAGLIO_HOST_DEVICE constexpr int64_t q8_0_scale_offset(int64_t i) {
  return i / kQ8_0Block * kQ8_0BlockBytes;
}

// code in [0, 16).
INTAGLIO_HOST_DEVICE float nf4_value(int code) {
  constexpr float kValues[kNf4Codes] = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};
  return kValues[code];
}

// The code whose value is nearest to v; half way, the lower one. v is in units of absmax.
INTAGLIO_HOST_DEVICE int nf4_nearest(float v) {
  int code = 0;
  for (int i = 0; i + 1 < kNf4Codes; ++i)
    code += v > 0.5f * (nf4_value(i) + nf4_value(i + 1)) ? 1 : 0;
  return code;
}

// Code of value i of a run, from the byte i / 2.
INTAGLIO_HOST_DEVICE constexpr int nf4_code(uint8_t byte, int64_t i) {
  return i % 2 == 0 ? byte >> 4 : byte & 15;
}

}  // namespace intaglio::cuda
