// Rows of floats to e4m3 rows and scales in one pass over memory.
//
// Formula and edge cases: ops/cuda/e4m3_rows_params.h. Every architecture from sm_75 runs the same
// code; before sm_89 the conversion is made of integer instructions. The shape of the work is that
// of kernels/quantize_rows.cuh: a row is cut in pieces of 16 bytes (8 columns of the half types, 4
// floats), piece i of a row shared by T threads belongs to thread i % T, and a thread loads all its
// pieces before it uses one. They stay packed in registers until the row's absmax is known: half
// the registers of floats.
//
//   held_e4m3_rows       a warp a row (up to 128 pieces, no barrier) or a block a row (2 to 8 pieces a thread, one barrier)
//   streamed_e4m3_rows   longer rows: two passes, the second out of L2
//
// Bound by memory: 3 bytes a column of the half types, 5 of floats. sm_90: about 5 instructions a
// column (unpack, maximum, multiplication, half a conversion), under a fifth of the issue slots
// that a copy at full rate leaves.
#pragma once

#include "ops/cuda/e4m3_rows_params.h"
#include "ops/cuda/kernels/e4m3_quantizer.cuh"
#include "ops/cuda/kernels/row_pieces.cuh"

namespace intaglio::cuda {

inline constexpr int kE4m3WarpRows = 4;  // rows of a block whose warps have a row each
inline constexpr int kE4m3MostThreads = 1024;

template <class Type>
inline constexpr int kE4m3Piece = 16 / Type::kBytes;  // columns

// Rows are whole pieces. Past the end a piece is zeros, which change no maximum.
template <class Type, RowRead kRead>
__device__ __forceinline__ Piece<Type, kE4m3Piece<Type>> load_e4m3_piece(const E4m3RowsParams& p,
                                                                         int64_t row,
                                                                         int64_t column) {
  const char* const from = static_cast<const char*>(p.x) + row * p.ldx * Type::kBytes;
  return load_row_piece<true, kRead, Type, kE4m3Piece<Type>>(from, column, p.cols - column);
}

template <class Type>
__device__ __forceinline__ void store_e4m3_piece(const E4m3RowsParams& p, int64_t row,
                                                 int64_t column,
                                                 const Piece<Type, kE4m3Piece<Type>>& raw,
                                                 const DeviceRowScale& scale) {
  float v[kE4m3Piece<Type>];
  unpack<Type>(raw, v);
  store_e4m3(p.q + row * p.cols + column, v, scale);
}

// kWarpRow: each warp has a row of its own.
template <class Type, int kChunks, bool kWarpRow>
__global__ void __launch_bounds__(kWarpRow ? 32 * kE4m3WarpRows : kE4m3MostThreads)
    held_e4m3_rows(const __grid_constant__ E4m3RowsParams p) {
  using P = Piece<Type, kE4m3Piece<Type>>;
  __shared__ uint32_t maxima[32];
  const int threads = kWarpRow ? 32 : static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(kWarpRow ? threadIdx.x % 32 : threadIdx.x);
  const int64_t row =
      kWarpRow ? int64_t{blockIdx.x} * kE4m3WarpRows + threadIdx.x / 32 : int64_t{blockIdx.x};
  if (kWarpRow && row >= p.rows) return;  // a whole warp
  const auto column_of = [&](int i) { return int64_t{thread + i * threads} * kE4m3Piece<Type>; };

  P raw[kChunks];
#pragma unroll
  for (int i = 0; i < kChunks; ++i)
    raw[i] = load_e4m3_piece<Type, RowRead::kOnce>(p, row, column_of(i));
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    float v[kE4m3Piece<Type>];
    unpack<Type>(raw[i], v);
    most = max(most, magnitude(v));
  }
  most = kWarpRow ? warp_max(most) : block_max(most, maxima);

  const DeviceRowScale scale = e4m3_row_scale(most);
  if (thread == 0) p.scale[row] = scale.scale;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    keep_packed(raw[i]);
    if (column_of(i) < p.cols) store_e4m3_piece<Type>(p, row, column_of(i), raw[i], scale);
  }
}

// A block a row of any length.
template <class Type>
__global__ void __launch_bounds__(kE4m3MostThreads)
    streamed_e4m3_rows(const __grid_constant__ E4m3RowsParams p) {
  using P = Piece<Type, kE4m3Piece<Type>>;
  constexpr int kUnroll = 4;
  __shared__ uint32_t maxima[32];
  const int64_t row = blockIdx.x;
  const int64_t step = int64_t{blockDim.x} * kE4m3Piece<Type>;

  // visit(column, raw) for the thread's pieces, several loads ahead of their use.
  const auto each_piece = [&](auto&& visit) {
    for (int64_t base = int64_t{threadIdx.x} * kE4m3Piece<Type>; base < p.cols;
         base += kUnroll * step) {
      P raw[kUnroll];
#pragma unroll
      for (int i = 0; i < kUnroll; ++i)
        raw[i] = load_e4m3_piece<Type, RowRead::kAgain>(p, row, base + i * step);
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int64_t column = base + i * step;
        if (column < p.cols) visit(column, raw[i]);
      }
    }
  };

  uint32_t most = 0;
  each_piece([&](int64_t, const P& raw) {
    float v[kE4m3Piece<Type>];
    unpack<Type>(raw, v);
    most = max(most, magnitude(v));
  });
  const DeviceRowScale scale = e4m3_row_scale(block_max(most, maxima));
  if (threadIdx.x == 0) p.scale[row] = scale.scale;
  each_piece(
      [&](int64_t column, const P& raw) { store_e4m3_piece<Type>(p, row, column, raw, scale); });
}

}  // namespace intaglio::cuda
