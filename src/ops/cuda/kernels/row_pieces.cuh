// Four consecutive elements of a row, in registers and in memory: what passes over rows and
// pictures share.
//
// 16 bytes a lane of floats, 8 of bf16. kVector: the row is at a multiple of 16 bytes (8 for
// two-byte types) and elements come in whole fours; otherwise one by one, `left` of them.
#pragma once

#include <cuda_bf16.h>

#include "ops/cuda/kernels/row_quantizer.cuh"

namespace intaglio::cuda {

inline constexpr int kRowPiece = 4;  // elements

// kOnce: read once, out of every cache's way; kAgain: soon read again, kept in L2. Neither goes
// through the read-only path, so rows may be updated in place.
enum class RowRead { kOnce, kAgain };

// Zeros unless `left` > 0. Other than four elements: as many as make 16 bytes, at a multiple of 16
// bytes.
template <bool kVector, RowRead kRead, class Type, int kElements = kRowPiece>
__device__ __forceinline__ Piece<Type, kElements> load_row_piece(const void* row, int64_t column,
                                                                 int64_t left) {
  using P = Piece<Type, kElements>;
  if constexpr (!kVector) {
    return load_ragged<Type, P>(row, column, left);
  } else {
    P piece = zero_piece<P>();
    const char* at = static_cast<const char*>(row) + column * Type::kBytes;
    if constexpr (P::kWords == 4) {
      if (left > 0) {
        const auto* from = reinterpret_cast<const uint4*>(at);
        const uint4 words = kRead == RowRead::kOnce ? __ldcs(from) : __ldcg(from);
        piece.word[0] = words.x, piece.word[1] = words.y;
        piece.word[2] = words.z, piece.word[3] = words.w;
      }
    } else if (left > 0) {
      const auto* from = reinterpret_cast<const uint2*>(at);
      const uint2 words = kRead == RowRead::kOnce ? __ldcs(from) : __ldcg(from);
      piece.word[0] = words.x, piece.word[1] = words.y;
    }
    return piece;
  }
}

// Of a vector of the columns; `missing` where there is none.
template <bool kVector>
__device__ __forceinline__ void load_vector_piece(const float* vector, float missing,
                                                  int64_t column, int64_t left,
                                                  float (&v)[kRowPiece]) {
#pragma unroll
  for (int i = 0; i < kRowPiece; ++i) v[i] = missing;
  if constexpr (kVector) {
    if (vector != nullptr) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(vector + column));
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i)
      if (vector != nullptr && i < left) v[i] = __ldg(vector + column + i);
  }
}

__device__ __forceinline__ uint32_t bf16_words(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Rounded to the type. kStream: floats that are not read again soon pass L2 by.
template <bool kVector, class Type, bool kStream = false>
__device__ __forceinline__ void store_row_piece(void* row, int64_t column, int64_t left,
                                                const float (&v)[kRowPiece]) {
  if constexpr (std::is_same_v<Type, F32>) {
    float* const to = static_cast<float*>(row) + column;
    if constexpr (kVector) {
      if (left <= 0) return;
      const float4 four = make_float4(v[0], v[1], v[2], v[3]);
      if constexpr (kStream) {
        __stcs(reinterpret_cast<float4*>(to), four);
      } else {
        *reinterpret_cast<float4*>(to) = four;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kRowPiece; ++i)
        if (i < left) to[i] = v[i];
    }
  } else {
    static_assert(std::is_same_v<Type, BF16>);
    auto* const to = static_cast<__nv_bfloat16*>(row) + column;
    if constexpr (kVector) {
      if (left > 0)
        *reinterpret_cast<uint2*>(to) = make_uint2(bf16_words(v[0], v[1]), bf16_words(v[2], v[3]));
    } else {
#pragma unroll
      for (int i = 0; i < kRowPiece; ++i)
        if (i < left) to[i] = __float2bfloat16_rn(v[i]);
    }
  }
}

}  // namespace intaglio::cuda
