// Norm over the channels of each pixel of a channels-last picture in one read and one write.
//
// Formula and numeric contract: ops/cuda/pixel_norm_params.h. Every architecture from sm_75 runs
// the same code. A warp a pixel; its lanes take pieces of 4 channels in turn:
//
//   channels  | lane 0 | lane 1 | ... | lane 31 | lane 0 | ...        4 each
//
// The first 512 channels stay in registers between the sum and the result; what is beyond them is
// read again. Bound by memory: 4 bytes an element of bf16.
#pragma once

#include "ops/cuda/kernels/row_pieces.cuh"
#include "ops/cuda/pixel_norm_params.h"
#include "ops/cuda/tile/activation.cuh"

namespace intaglio::cuda {

inline constexpr int kPixelNormThreads = 256;
inline constexpr int kPixelNormHeld = 4;  // pieces a lane keeps

template <class Type, bool kVector, bool kSilu>
__global__ void __launch_bounds__(kPixelNormThreads)
    pixel_norm_kernel(const __grid_constant__ PixelNormParams p) {
  constexpr int kStep = 32 * kRowPiece;
  const int64_t pixel = int64_t{blockIdx.x} * (kPixelNormThreads / 32) + threadIdx.x / 32;
  if (pixel >= p.pixels) return;
  const int channels = static_cast<int>(p.channels);
  const int first = static_cast<int>(threadIdx.x % 32) * kRowPiece;
  const char* const x = static_cast<const char*>(p.x) + pixel * p.channels * Type::kBytes;
  char* const y = static_cast<char*>(p.y) + pixel * p.channels * Type::kBytes;
  const auto load = [&](int column, float(&v)[kRowPiece]) {
    unpack<Type>(load_row_piece<kVector, RowRead::kOnce, Type>(x, column, channels - column), v);
  };
  float squares = 0.0f;
  const auto add_squares = [&](const float(&v)[kRowPiece]) {
#pragma unroll
    for (float e : v) squares = __fmaf_rn(e, e, squares);
  };

  float held[kPixelNormHeld][kRowPiece];
#pragma unroll
  for (int i = 0; i < kPixelNormHeld; ++i) load(first + i * kStep, held[i]);
#pragma unroll
  for (int i = 0; i < kPixelNormHeld; ++i) add_squares(held[i]);
#pragma unroll 1
  for (int column = first + kPixelNormHeld * kStep; column < channels; column += kStep) {
    float v[kRowPiece];
    load(column, v);
    add_squares(v);
  }
  const float norm = __fsqrt_rn(warp_sum(squares));
  const float factor = __fdiv_rn(p.root, norm < p.least ? p.least : norm);  // NaN stays

  const auto finish = [&](int column, float(&v)[kRowPiece]) {
    const int left = channels - column;
    if (left <= 0) return;
    float weight[kRowPiece];
    load_vector_piece<kVector>(p.weight, 0.0f, column, left, weight);
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i) {
      v[i] = __fmul_rn(__fmul_rn(v[i], factor), weight[i]);
      if constexpr (kSilu) {
        // For outputs of 16 bits, exp by one instruction.
        v[i] = Type::kBytes == 2 ? activate<FastMath>(Silu{}, v[i])
                                 : activate<ExactMath>(Silu{}, v[i]);
      }
    }
    store_row_piece<kVector, Type>(y, column, left, v);
  };
#pragma unroll
  for (int i = 0; i < kPixelNormHeld; ++i) finish(first + i * kStep, held[i]);
#pragma unroll 1
  for (int column = first + kPixelNormHeld * kStep; column < channels; column += kStep) {
    float v[kRowPiece];
    load(column, v);
    finish(column, v);
  }
}

}  // namespace intaglio::cuda
