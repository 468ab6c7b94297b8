// The small passes over floats: conversion, sums, activations, epilogues, biases, gates,
// embedding rows, taps, softmax, pictures.
//
// Formulas and edge cases: ops/cuda/elementwise_params.h. Every architecture from sm_75 runs the
// same code. All are bound by memory; a thread loads four pieces of 4 elements before it uses one,
// and pieces of a warp are neighbours. Flat passes cut the elements into blocks; row passes give a
// block a row, which needs no division. Softmax keeps the row in registers where it can (one read,
// one write); longer rows are read twice: one pass for the largest score and the sum of exponents
// together, corrected as the largest grows, and one that writes.
#pragma once

#include "ops/cuda/elementwise_params.h"
#include "ops/cuda/kernels/row_pieces.cuh"
#include "ops/cuda/tile/activation.cuh"

namespace intaglio::cuda {

inline constexpr int kElementThreads = 256;
inline constexpr int kElementUnroll = 4;  // pieces a thread has in flight
inline constexpr int kElementsOfBlock = kElementThreads * kElementUnroll * kRowPiece;

// --- flat passes ---

// An operation names the types it reads and writes (void: not read) and makes one element.
template <class From, class To>
struct ConvertElements {
  using A = From;
  using B = void;
  using Out = To;
  static __device__ __forceinline__ float value(float a, float) { return a; }
};

template <class Y>
struct AddElements : ConvertElements<F32, F32> {
  using B = Y;
  static __device__ __forceinline__ float value(float a, float b) { return __fadd_rn(a, b); }
};

// Pieces of an operand that is not read cost nothing.
template <class Type>
struct OperandPieces {
  Piece<Type, kRowPiece> piece[kElementUnroll];
};
template <>
struct OperandPieces<void> {};

// kWhole: all the block's pieces are whole and aligned, so that no branch stands between their
// loads.
template <bool kWhole, class Type>
__device__ __forceinline__ void load_operand(OperandPieces<Type>& to, const void* array,
                                             int64_t first, int64_t count) {
  if constexpr (!std::is_void_v<Type>) {
#pragma unroll
    for (int u = 0; u < kElementUnroll; ++u) {
      const int64_t at = first + u * int64_t{kElementThreads * kRowPiece};
      to.piece[u] =
          load_row_piece<kWhole, RowRead::kOnce, Type>(array, at, kWhole ? kRowPiece : count - at);
    }
  }
}

template <class Type>
__device__ __forceinline__ void unpack_operand(const OperandPieces<Type>& from, int u,
                                               float (&v)[kRowPiece]) {
  if constexpr (std::is_void_v<Type>) {
#pragma unroll
    for (float& x : v) x = 0.0f;
  } else {
    unpack<Type>(from.piece[u], v);
  }
}

template <class Op, bool kWhole>
__device__ __forceinline__ void flat_block(const FlatParams& p, int64_t first) {
  OperandPieces<typename Op::A> raw_a;
  OperandPieces<typename Op::B> raw_b;
  load_operand<kWhole>(raw_a, p.a, first, p.count);
  load_operand<kWhole>(raw_b, p.b, first, p.count);
#pragma unroll
  for (int u = 0; u < kElementUnroll; ++u) {
    const int64_t at = first + u * int64_t{kElementThreads * kRowPiece};
    float a[kRowPiece], b[kRowPiece], v[kRowPiece];
    unpack_operand(raw_a, u, a);
    unpack_operand(raw_b, u, b);
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i) v[i] = Op::value(a[i], b[i]);
    store_row_piece<kWhole, typename Op::Out>(p.out, at, kWhole ? kRowPiece : p.count - at, v);
  }
}

// kVector: every array is at a multiple of 16 bytes. The last block goes element by element.
template <class Op, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    flat_elements(const __grid_constant__ FlatParams p) {
  const int64_t block = int64_t{blockIdx.x} * kElementsOfBlock;
  const int64_t first = block + int64_t{threadIdx.x} * kRowPiece;
  if (kVector && block + kElementsOfBlock <= p.count) {
    flat_block<Op, true>(p, first);
  } else {
    flat_block<Op, false>(p, first);
  }
}

// --- passes by row: a block a row ---

// raw = load(column, left) for several pieces of the row, then use(column, left, raw). Past the end
// of the row load gets left <= 0 and gives zeros: no branch keeps the loads together.
template <class Load, class Use>
__device__ __forceinline__ void each_row_piece(int64_t cols, Load&& load, Use&& use) {
  const int64_t step = int64_t{blockDim.x} * kRowPiece;
  for (int64_t base = int64_t{threadIdx.x} * kRowPiece; base < cols;
       base += kElementUnroll * step) {
    decltype(load(base, cols)) raw[kElementUnroll];
#pragma unroll
    for (int u = 0; u < kElementUnroll; ++u) {
      const int64_t column = base + u * step;
      raw[u] = load(column, cols - column);
    }
#pragma unroll
    for (int u = 0; u < kElementUnroll; ++u) {
      const int64_t column = base + u * step;
      if (column < cols) use(column, cols - column, raw[u]);
    }
  }
}

template <class Type>
struct GatedPieces {
  Piece<Type, kRowPiece> gate, value;
};

__host__ __device__ inline int64_t blocks_of_row(int64_t cols) {
  return (cols + kElementsOfBlock - 1) / kElementsOfBlock;
}

// Few rows may be long ones: a block takes kElementsOfBlock columns of a row.
template <class Function, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    activate_rows_kernel(const __grid_constant__ ActivateRowsParams p) {
  const int64_t blocks = blocks_of_row(p.cols);
  const int64_t first = int64_t{blockIdx.x} % blocks * kElementsOfBlock;
  float* const piece = p.x + int64_t{blockIdx.x} / blocks * p.ld + first;
  each_row_piece(
      min(p.cols - first, int64_t{kElementsOfBlock}),
      [&](int64_t column, int64_t left) {
        return load_row_piece<kVector, RowRead::kOnce, F32>(piece, column, left);
      },
      [&](int64_t column, int64_t left, const Piece<F32, kRowPiece>& raw) {
        float v[kRowPiece];
        unpack<F32>(raw, v);
#pragma unroll
        for (float& x : v) x = activate<RoundedMath>(Function{}, x);
        store_row_piece<kVector, F32>(piece, column, left, v);
      });
}

template <class Epilogue, class X, class Out, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    epilogue_rows_kernel(const __grid_constant__ EpilogueRowsParams p) {
  constexpr typename Epilogue::Function kFunction;
  const int64_t row = blockIdx.x;
  const char* const x = static_cast<const char*>(p.x) + row * p.ldx * X::kBytes;
  if constexpr (Epilogue::kGated) {
    const char* const up = x + p.cols * X::kBytes;
    each_row_piece(
        p.cols,
        [&](int64_t column, int64_t left) {
          return GatedPieces<X>{load_row_piece<kVector, RowRead::kOnce, X>(x, column, left),
                                load_row_piece<kVector, RowRead::kOnce, X>(up, column, left)};
        },
        [&](int64_t column, int64_t left, const GatedPieces<X>& raw) {
          float g[kRowPiece], u[kRowPiece];
          unpack<X>(raw.gate, g);
          unpack<X>(raw.value, u);
#pragma unroll
          for (int i = 0; i < kRowPiece; ++i)
            u[i] = __fmul_rn(activate<ExactMath>(kFunction, g[i]), u[i]);
          store_row_piece<kVector, Out>(p.out, row * p.ldo + column, left, u);
        });
  } else {
    each_row_piece(
        p.cols,
        [&](int64_t column, int64_t left) {
          return load_row_piece<kVector, RowRead::kOnce, X>(x, column, left);
        },
        [&](int64_t column, int64_t left, const Piece<X, kRowPiece>& raw) {
          float v[kRowPiece];
          unpack<X>(raw, v);
#pragma unroll
          for (float& value : v) value = activate<ExactMath>(kFunction, value);
          store_row_piece<kVector, Out>(p.out, row * p.ldo + column, left, v);
        });
  }
}

template <class X, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    add_bias_rows_kernel(const __grid_constant__ AddBiasRowsParams p) {
  char* const row = static_cast<char*>(p.x) + int64_t{blockIdx.x} * p.cols * X::kBytes;
  each_row_piece(
      p.cols,
      [&](int64_t column, int64_t left) {
        return load_row_piece<kVector, RowRead::kOnce, X>(row, column, left);
      },
      [&](int64_t column, int64_t left, const Piece<X, kRowPiece>& raw) {
        float v[kRowPiece], bias[kRowPiece];
        unpack<X>(raw, v);
        load_vector_piece<kVector>(p.bias, 0.0f, column, left, bias);
#pragma unroll
        for (int i = 0; i < kRowPiece; ++i) v[i] = __fadd_rn(v[i], bias[i]);
        store_row_piece<kVector, X>(row, column, left, v);
      });
}

template <class X, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    gate_rows_kernel(const __grid_constant__ GateRowsParams p) {
  char* const row = static_cast<char*>(p.x) + int64_t{blockIdx.x} * p.cols * X::kBytes;
  const char* const gates =
      static_cast<const char*>(p.gate) + int64_t{blockIdx.x} * p.ld * X::kBytes;
  each_row_piece(
      p.cols,
      [&](int64_t column, int64_t left) {
        return GatedPieces<X>{load_row_piece<kVector, RowRead::kOnce, X>(gates, column, left),
                              load_row_piece<kVector, RowRead::kOnce, X>(row, column, left)};
      },
      [&](int64_t column, int64_t left, const GatedPieces<X>& raw) {
        float gate[kRowPiece], v[kRowPiece];
        unpack<X>(raw.gate, gate);
        unpack<X>(raw.value, v);
#pragma unroll
        for (int i = 0; i < kRowPiece; ++i)
          v[i] = __fmul_rn(activate<ExactMath>(Sigmoid{}, gate[i]), v[i]);
        store_row_piece<kVector, X>(row, column, left, v);
      });
}

// Interleaved, stores are 4 bytes channel_stride * 4 apart: a sector of 32 bytes each. All taps of
// a row together would write whole sectors, but they are known a layer at a time. kDense: channels
// lie side by side, each piece at a multiple of 16 bytes.
template <bool kVector, bool kDense>
__global__ void __launch_bounds__(kElementThreads)
    scatter_tap_kernel(const __grid_constant__ ScatterTapParams p) {
  const int64_t row = blockIdx.x;
  const float* const from = p.h + row * p.cols;
  float* const to = p.features + row * p.ld + p.offset;
  each_row_piece(
      p.cols,
      [&](int64_t column, int64_t left) {
        return load_row_piece<kVector, RowRead::kOnce, F32>(from, column, left);
      },
      [&](int64_t column, int64_t left, const Piece<F32, kRowPiece>& raw) {
        float v[kRowPiece];
        unpack<F32>(raw, v);
        if constexpr (kDense) {
          store_row_piece<kVector, F32>(to, column, left, v);
        } else {
#pragma unroll
          for (int i = 0; i < kRowPiece; ++i)
            if (i < left) to[(column + i) * p.channel_stride] = v[i];
        }
      });
}

// --- softmax: a block a row ---

inline constexpr float kLog2E = 1.44269504f;
// Where a maximum begins: finite, so that exp2(begin - anything) is 0 or 1 and never NaN.
inline constexpr float kLeastScore = -3.402823466e38f;

__device__ __forceinline__ float exp_of_difference(float score, float most) {
  return exp2f(__fmul_rn(__fsub_rn(score, most), kLog2E));
}

__device__ __forceinline__ float warp_most(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

// All threads of the block; `shared` holds 32 words for this reduction only. A NaN is skipped: it
// comes back in the sum.
__device__ __forceinline__ float block_most(float value, float* shared) {
  value = warp_most(value);
  const int lane = threadIdx.x % 32;
  if (lane == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_most(lane < static_cast<int>(blockDim.x / 32) ? shared[lane] : kLeastScore);
}

template <int kChunks>
struct HeldSoftmaxConfig {
  static constexpr int kThreads = kChunks == 1 ? 256 : kChunks == 4 ? 256 : 512;
  static constexpr int kColumns = kThreads * kChunks * kRowPiece;  // 1024, 4096, 16384
  static constexpr int kBlocks = 1024 / kThreads;
};

template <class Out, int kChunks>
__global__ void __launch_bounds__(HeldSoftmaxConfig<kChunks>::kThreads,
                                  HeldSoftmaxConfig<kChunks>::kBlocks)
    held_softmax_rows(const __grid_constant__ SoftmaxRowsParams p) {
  __shared__ float maxima[32], sums[32];
  const int64_t row_start = int64_t{blockIdx.x} * p.cols;
  const int cols = static_cast<int>(p.cols);
  const auto column_of = [&](int i) {
    return static_cast<int>(threadIdx.x * kRowPiece) +
           i * HeldSoftmaxConfig<kChunks>::kThreads * kRowPiece;
  };
  float v[kChunks][kRowPiece];
#pragma unroll
  for (int i = 0; i < kChunks; ++i)
    unpack<F32>(load_row_piece<true, RowRead::kOnce, F32>(p.scores, row_start + column_of(i),
                                                          cols - column_of(i)),
                v[i]);
  float most = kLeastScore;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
#pragma unroll
    for (int e = 0; e < kRowPiece; ++e) {
      v[i][e] = __fmul_rn(v[i][e], p.scale);
      if (column_of(i) < cols) most = fmaxf(most, v[i][e]);
    }
  }
  most = block_most(most, maxima);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
#pragma unroll
    for (int e = 0; e < kRowPiece; ++e) {
      v[i][e] = exp_of_difference(v[i][e], most);
      if (column_of(i) < cols) sum = __fadd_rn(sum, v[i][e]);
    }
  }
  const float inverse = __frcp_rn(block_sum(sum, sums));
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
#pragma unroll
    for (int e = 0; e < kRowPiece; ++e) v[i][e] = __fmul_rn(v[i][e], inverse);
    store_row_piece<true, Out>(p.out, row_start + column_of(i), cols - column_of(i), v[i]);
  }
}

inline constexpr int kStreamedSoftmaxThreads = 512;

template <class Out, bool kVector>
__global__ void __launch_bounds__(kStreamedSoftmaxThreads)
    streamed_softmax_rows(const __grid_constant__ SoftmaxRowsParams p) {
  __shared__ float maxima[32], sums[32];
  const int64_t row_start = int64_t{blockIdx.x} * p.cols;
  const float* const row = p.scores + row_start;
  const auto load = [&](int64_t column, int64_t left) {
    return load_row_piece<kVector, RowRead::kAgain, F32>(row, column, left);
  };
  float most = kLeastScore, sum = 0.0f;  // of the thread; the sum is about its own maximum
  each_row_piece(p.cols, load, [&](int64_t, int64_t left, const Piece<F32, kRowPiece>& raw) {
    float v[kRowPiece];
    unpack<F32>(raw, v);
    float higher = most;
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i) {
      v[i] = __fmul_rn(v[i], p.scale);
      if (i < left) higher = fmaxf(higher, v[i]);
    }
    sum = __fmul_rn(sum, exp_of_difference(most, higher));
    most = higher;
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i)
      if (i < left) sum = __fadd_rn(sum, exp_of_difference(v[i], most));
  });
  const float row_most = block_most(most, maxima);
  sum = __fmul_rn(sum, exp_of_difference(most, row_most));
  const float inverse = __frcp_rn(block_sum(sum, sums));
  each_row_piece(p.cols, load, [&](int64_t column, int64_t left, const Piece<F32, kRowPiece>& raw) {
    float v[kRowPiece];
    unpack<F32>(raw, v);
#pragma unroll
    for (float& x : v) x = __fmul_rn(exp_of_difference(__fmul_rn(x, p.scale), row_most), inverse);
    store_row_piece<kVector, Out>(p.out, row_start + column, left, v);
  });
}

// --- pictures ---

// A block a row of the tile. Twelve adjacent floats are four pixels: 16 bytes of each plane, where
// the planes' rows are aligned. Lanes read 48 bytes apart; the sectors between are met in L1.
template <bool kVector, bool kBlend>
__global__ void __launch_bounds__(kElementThreads, 1)
    place_picture_kernel(const __grid_constant__ PlacePictureParams p) {
  const int64_t y = blockIdx.x;
  const float* const tile = p.tile + y * p.tile_width * 3;
  float* const line = p.picture + (p.first_row + y) * p.width + p.first_column;
  const int64_t plane = p.height * p.width;
  const float row_share = kBlend ? __ldg(p.row_share + y) : 1.0f;
  for (int64_t x = int64_t{threadIdx.x} * kRowPiece; x < p.tile_width;
       x += int64_t{blockDim.x} * kRowPiece) {
    const int64_t left = p.tile_width - x;
    float pixel[3 * kRowPiece], share[kRowPiece];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      float four[kRowPiece] = {};
      if constexpr (kVector) {
        const float4 floats = __ldg(reinterpret_cast<const float4*>(tile + 3 * x) + i);
        four[0] = floats.x, four[1] = floats.y, four[2] = floats.z, four[3] = floats.w;
      } else {
#pragma unroll
        for (int e = 0; e < kRowPiece; ++e)
          if (kRowPiece * i + e < 3 * left) four[e] = __ldg(tile + 3 * x + kRowPiece * i + e);
      }
#pragma unroll
      for (int e = 0; e < kRowPiece; ++e) pixel[kRowPiece * i + e] = four[e];
    }
    if constexpr (kBlend) load_vector_piece<kVector>(p.column_share, 0.0f, x, left, share);
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      float* const to = line + c * plane;
      float v[kRowPiece];
#pragma unroll
      for (int i = 0; i < kRowPiece; ++i) v[i] = pixel[3 * i + c];
      if constexpr (kBlend) {
        float old[kRowPiece];
        unpack<F32>(load_row_piece<kVector, RowRead::kOnce, F32>(to, x, left), old);
#pragma unroll
        for (int i = 0; i < kRowPiece; ++i)
          v[i] = __fadd_rn(old[i], __fmul_rn(__fmul_rn(row_share, share[i]), v[i]));
      }
      store_row_piece<kVector, F32>(to, x, left, v);
    }
  }
}

}  // namespace intaglio::cuda
