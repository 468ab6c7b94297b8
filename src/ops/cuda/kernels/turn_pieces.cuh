// ConvRot's turn (quant/rotation.h) of a row that lies in a warp's registers: groups of 16, 64 and
// 256 columns, by shuffles. rotate_quantize_rows.cuh, which loads rows for nothing else, exchanges
// through shared memory.
#pragma once

#include "ops/cuda/kernels/row_pieces.cuh"
#include "ops/cuda/kernels/row_quantizer.cuh"

namespace intaglio::cuda {

// One stage over four values that lie kStride lanes apart; the lane has one of them.
template <int kStride>
__device__ __forceinline__ float turn_lanes(float x) {
  const float pair = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, kStride));
  const float four = __fadd_rn(pair, __shfl_xor_sync(0xffffffffu, pair, 2 * kStride));
  return __fsub_rn(__fmul_rn(four, 0.5f), __shfl_xor_sync(0xffffffffu, x, 3 * kStride));
}

// The lane's two pieces of 256 columns: column bits 1-0 are the element, 6-2 the lane, 7 the piece.
// Strides 1, 4, 16 and 64, as far as the group goes; the bits of rotate_row.
__device__ __forceinline__ void turn_pieces(int group, float (&low)[kRowPiece],
                                            float (&high)[kRowPiece]) {
  const auto turn_piece = [](float(&v)[kRowPiece]) {
    const float s = __fmul_rn(__fadd_rn(__fadd_rn(v[0], v[1]), __fadd_rn(v[2], v[3])), 0.5f);
    const float turned[kRowPiece] = {__fsub_rn(s, v[3]), __fsub_rn(s, v[2]), __fsub_rn(s, v[1]),
                                     __fsub_rn(s, v[0])};
#pragma unroll
    for (int e = 0; e < kRowPiece; ++e) v[e] = turn_lanes<1>(turned[e]);
  };
  turn_piece(low);
  turn_piece(high);
  if (group < 64) return;
#pragma unroll
  for (int e = 0; e < kRowPiece; ++e) {
    low[e] = turn_lanes<4>(low[e]);
    high[e] = turn_lanes<4>(high[e]);
  }
  if (group < 256) return;
#pragma unroll
  for (int e = 0; e < kRowPiece; ++e) {
    const float low_across = __shfl_xor_sync(0xffffffffu, low[e], 16);
    const float high_across = __shfl_xor_sync(0xffffffffu, high[e], 16);
    const float s =
        __fmul_rn(__fadd_rn(__fadd_rn(low[e], low_across), __fadd_rn(high[e], high_across)), 0.5f);
    low[e] = __fsub_rn(s, high_across);
    high[e] = __fsub_rn(s, low_across);
  }
}

template <int kChunks>
__device__ __forceinline__ uint32_t turn_row(int group, float (&v)[kChunks][kRowPiece]) {
  static_assert(kChunks % 2 == 0);
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kChunks; i += 2) {
    turn_pieces(group, v[i], v[i + 1]);
    most = max(most, max(magnitude(v[i]), magnitude(v[i + 1])));
  }
  return most;
}

}  // namespace intaglio::cuda
