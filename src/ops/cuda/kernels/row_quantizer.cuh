// The parts every row quantizer shares: pieces of a row in registers, the largest magnitude, the
// scale, rounding to int8.
//
// Numeric contract: the bits of ops/cpu/quantize_scale.h and ops/ref/quantize.cpp. Every float
// operation is an explicitly rounded intrinsic, so that the compiler cannot contract two of them;
// build without -use_fast_math (denormals are kept).
#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace intaglio::cuda {

// Types of x. Conversion to float is exact.
struct F32 {
  static constexpr int kBytes = 4;
};
struct BF16 {
  static constexpr int kBytes = 2;
};
struct F16 {
  static constexpr int kBytes = 2;
};

// kElements consecutive values of a row as they lie in memory.
template <class Type, int kElements_>
struct Piece {
  static constexpr int kElements = kElements_;
  static constexpr int kWords = kElements * Type::kBytes / 4;
  static_assert(kWords == 2 || kWords == 4);
  uint32_t word[kWords];
};

template <class P>
__device__ __forceinline__ P zero_piece() {
  P piece;
#pragma unroll
  for (int i = 0; i < P::kWords; ++i) piece.word[i] = 0;
  return piece;
}

// A load that is skipped, giving zeros, unless `valid`. Predicated inside the asm: no branch stands
// between the loads of a thread. `at` is aligned to the piece's size. kOnce: the row is read once
// and not kept in L1, which the per-column vectors need.
template <class P, bool kOnce = true>
__device__ __forceinline__ P load_piece(const void* at, bool valid) {
  P piece = zero_piece<P>();
  uint32_t* word = piece.word;
  if constexpr (P::kWords == 2) {
    static_assert(kOnce);
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %3, 0;\n"
        "@p ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2]; }"
        : "+r"(word[0]), "+r"(word[1])
        : "l"(at), "r"(static_cast<int>(valid)));
  } else if constexpr (kOnce) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %5, 0;\n"
        "@p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4]; }"
        : "+r"(word[0]), "+r"(word[1]), "+r"(word[2]), "+r"(word[3])
        : "l"(at), "r"(static_cast<int>(valid)));
  } else {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %5, 0;\n"
        "@p ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4]; }"
        : "+r"(word[0]), "+r"(word[1]), "+r"(word[2]), "+r"(word[3])
        : "l"(at), "r"(static_cast<int>(valid)));
  }
  return piece;
}

// Any alignment, and only the columns below `left`; the rest is zero.
template <class Type, class P>
__device__ __forceinline__ P load_ragged(const void* row, int64_t column, int64_t left) {
  P piece = zero_piece<P>();
  if constexpr (Type::kBytes == 4) {
    const auto* from = static_cast<const uint32_t*>(row) + column;
#pragma unroll
    for (int i = 0; i < P::kElements; ++i)
      if (i < left) piece.word[i] = from[i];
  } else {
    const auto* from = static_cast<const uint16_t*>(row) + column;
#pragma unroll
    for (int i = 0; i < P::kElements; ++i)
      if (i < left) piece.word[i / 2] |= static_cast<uint32_t>(from[i]) << (16 * (i % 2));
  }
  return piece;
}

// Stops the compiler from keeping values derived from the piece in place of the piece itself: twice
// the registers.
template <class P>
__device__ __forceinline__ void keep_packed(P& piece) {
#pragma unroll
  for (int i = 0; i < P::kWords; ++i) asm volatile("" : "+r"(piece.word[i]));
}

template <class Type, class P>
__device__ __forceinline__ void unpack(const P& piece, float (&v)[P::kElements]) {
  if constexpr (Type::kBytes == 4) {
#pragma unroll
    for (int i = 0; i < P::kElements; ++i) v[i] = __uint_as_float(piece.word[i]);
  } else {
#pragma unroll
    for (int i = 0; i < P::kWords; ++i) {
      const uint32_t pair = piece.word[i];
      if constexpr (std::is_same_v<Type, BF16>) {
        v[2 * i] = __uint_as_float(pair << 16);
        v[2 * i + 1] = __uint_as_float(pair & 0xffff0000u);
      } else {
        v[2 * i] = __half2float(__ushort_as_half(static_cast<uint16_t>(pair)));
        v[2 * i + 1] = __half2float(__ushort_as_half(static_cast<uint16_t>(pair >> 16)));
      }
    }
  }
}

// Magnitudes are compared as bit patterns: Inf and NaN come after every number, so none is lost.
template <int kCount>
__device__ __forceinline__ uint32_t magnitude(const float (&v)[kCount]) {
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) most = max(most, __float_as_uint(v[i]) & 0x7fffffffu);
  return most;
}

__device__ __forceinline__ uint32_t warp_max(uint32_t value) {
#if __CUDA_ARCH__ >= 800
  return __reduce_max_sync(0xffffffffu, value);
#else
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    value = max(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
#endif
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

// All threads of the block call these and get the result. `shared` holds 32 words and is used by
// one reduction only, so one barrier is enough.
__device__ __forceinline__ uint32_t block_max(uint32_t value, uint32_t* shared) {
  value = warp_max(value);
  const int lane = threadIdx.x % 32;
  if (lane == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_max(lane < blockDim.x / 32 ? shared[lane] : 0u);
}

__device__ __forceinline__ float block_sum(float value, float* shared) {
  value = warp_sum(value);
  const int lane = threadIdx.x % 32;
  if (lane == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(lane < blockDim.x / 32 ? shared[lane] : 0.0f);
}

struct DeviceRowScale {
  float factor;  // q = v * factor
  float scale;
  uint32_t keep;  // all bits, or 0 where every q is 0 (a NaN times 0 is not 0)
};

// `largest`: what the largest magnitude becomes. A row below `tiny`, where largest / absmax would
// overflow, counts as zero.
__device__ __forceinline__ DeviceRowScale device_row_scale(uint32_t magnitude_bits,
                                                           float largest = 127.0f,
                                                           float tiny = 1e-36f) {
  if (magnitude_bits >= 0x7f800000u) return {0.0f, __uint_as_float(0x7fc00000u), 0u};
  const float absmax = __uint_as_float(magnitude_bits);
  const float quotient = __fdiv_rn(absmax, largest);
  const float scale = quotient > 1e-30f ? quotient : 1e-30f;
  if (absmax < tiny) return {0.0f, scale, 0u};
  return {__fdiv_rn(largest, absmax), scale, 0xffffffffu};
}

// Four values to four bytes. 1.5 * 2^23 has a step of 1 and is even: adding it rounds half to even
// and leaves the integer in the low bits of the sum, two full-rate instructions where a conversion
// to int has a quarter of their rate. |v * factor| stays below 127.5, so nothing is clamped.
__device__ __forceinline__ uint32_t quantize4(const float* v, const DeviceRowScale& row) {
  uint32_t bits[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float scaled = __fmul_rn(v[i], row.factor);
    bits[i] = __float_as_uint(__fadd_rn(scaled, 12582912.0f));
  }
  const uint32_t low = __byte_perm(bits[0], bits[1], 0x0040);
  const uint32_t high = __byte_perm(bits[2], bits[3], 0x0040);
  return __byte_perm(low, high, 0x5410) & row.keep;
}

template <int kCount>
__device__ __forceinline__ void store_quantized(int8_t* at, const float (&v)[kCount],
                                                const DeviceRowScale& row) {
  if constexpr (kCount == 8) {
    *reinterpret_cast<uint2*>(at) = make_uint2(quantize4(v, row), quantize4(v + 4, row));
  } else {
    static_assert(kCount == 4);
    *reinterpret_cast<uint32_t*>(at) = quantize4(v, row);
  }
}

}  // namespace intaglio::cuda
