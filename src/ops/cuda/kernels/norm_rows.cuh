// Row norms and residuals: one read of every input, one write of every output.
//
// Formulas and edge cases: ops/cuda/norm_rows_params.h. Every architecture from sm_75 runs the same
// code. A row belongs to one block; its pieces of 4 columns go round the threads, so that a warp's
// accesses are contiguous: 16 bytes a lane for floats, 8 for bf16, 4 for int8 and e4m3. Eight
// columns a piece would halve the loads of a bf16 y and double the L1 cycles of the vectors.
//
//   held_norm_rows       the row stays in registers: kChunks pieces a thread, all loads out before the first use
//     turned: as ConvRot's weights want them; a warp then holds 256 consecutive columns, so that
//     groups of up to 256 exchange by shuffles and neither shared memory nor a barrier is added.
//     H (t * inverse) = (H t) * inverse: what is turned is t, before the one reduction.
//   streamed_norm_rows   longer, ragged or unaligned rows. kShared: one block an SM keeps the row in shared memory; otherwise later passes come out of L2
//
//   gated, then rms, int8:   load y, h | sum y^2 | h += ...; store h; t; sum h^2, max |t| | store q
//                                      ^ barrier                                          ^ barrier
// The order of multiplications, out = t * inverse with t = x * weight * (1 + modulation), is what
// saves a third barrier: the largest |t| is known with the sum, and rounding is monotonic, so max
// |out| = max |t| * inverse exactly. Layer norms need the mean first and pay one barrier more; so
// do quantized rows with a shift, whose largest value is known once the shift is added. Rows with a
// shift have kernels of their own: asked at run time, even behind the last reduction, it spills
// registers of the rows without.
//
// Bound by memory: gated with int8 moves 11 bytes a column and executes about 35 instructions; a
// card that copies 13 bytes a cycle and SM has about 110 issue slots for them. What counts is the
// bytes in flight while a block waits at a barrier: 3 blocks of 288 threads hold 3 x 27 KB at 4608
// columns, several times what covers the latency of memory. The vectors (4 x 18 KB) stay in L1;
// rows pass by it (ld.cs). h is not read again soon, so it is stored past L2's keeping (st.cs); q
// is what the next product reads and stays.
#pragma once

#include "ops/cuda/kernels/e4m3_quantizer.cuh"
#include "ops/cuda/kernels/row_pieces.cuh"
#include "ops/cuda/kernels/turn_pieces.cuh"
#include "ops/cuda/norm_rows_params.h"

namespace intaglio::cuda {

// sm_75 has no registers of the warp for addresses, so a thread needs more of its own.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr int kHeldNormBlocks = 2;
#else
inline constexpr int kHeldNormBlocks = 3;
#endif

// kBlocks: at least so many blocks an SM, which bounds the registers. 4 chunks in 288 threads are
// 4608 columns; 3 such blocks leave 72 registers a thread.
template <int kChunks>
struct HeldNormConfig {
  static constexpr int kThreads = kChunks == 1 ? 256 : kChunks == 4 ? 288 : 384;
  static constexpr int kBlocks = kChunks == 1 ? 4 : kChunks == 4 ? kHeldNormBlocks : 1;
  static constexpr int kColumns = kThreads * kChunks * kRowPiece;
  static_assert(kChunks == 1 || kChunks == 4 || kChunks == 8);
  static_assert(kThreads * kBlocks <= 1024, "what an SM of sm_75 holds");
};

// Before sm_89 the conversion to e4m3 takes registers of its own.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
inline constexpr int kHeldE4m3Blocks = 2;
#else
inline constexpr int kHeldE4m3Blocks = kHeldNormBlocks;
#endif

// Turned rows of more than 4 chunks of 288 threads: more threads, as more chunks would spill.
inline constexpr int kWideTurnedThreads = 384;
inline constexpr int kWideTurnedBlocks = kHeldNormBlocks - 1;

// A y of floats leaves none for a shift.
template <RowUpdate kUpdate, class YType, bool kShift>
inline constexpr bool kShiftAfterFloats =
    !(YType::kBytes < 4 || kUpdate == RowUpdate::kNone || !kShift);

template <RowUpdate kUpdate, class YType, int kChunks, DType kOut, bool kShift>
inline constexpr int kHeldBlocks = kChunks != 4 ? HeldNormConfig<kChunks>::kBlocks
                                   : kShiftAfterFloats<kUpdate, YType, kShift> ? 2
                                   : kOut == DType::kF8E4M3                    ? kHeldE4m3Blocks
                                                                               : kHeldNormBlocks;

// --- steps of the formulas ---

// Four values of a byte each.
template <bool kVector>
__device__ __forceinline__ void store_bytes(void* out, int64_t at, int64_t left, uint32_t four) {
  auto* const to = static_cast<uint8_t*>(out) + at;
  if constexpr (kVector) {
    if (left > 0) *reinterpret_cast<uint32_t*>(to) = four;
  } else {
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i)
      if (i < left) to[i] = static_cast<uint8_t>(four >> (8 * i));
  }
}

// out = t * inverse in the type that is asked for; the choice is the same in all threads.
// kOut: the type of a byte that the kernel knows, kI8 or kE4M3; both in one would spill registers,
// and without the branches so would either.
template <bool kVector, DType kOut>
__device__ __forceinline__ void store_normed(const RowNorm& norm, int64_t at, int64_t left,
                                             const float (&t)[kRowPiece], float inverse,
                                             const DeviceRowScale& scale) {
  float v[kRowPiece];
#pragma unroll
  for (int i = 0; i < kRowPiece; ++i) v[i] = __fmul_rn(t[i], inverse);
  if (norm.out_type == DType::kF32) {
    store_row_piece<kVector, F32>(norm.out, at, left, v);
  } else if (norm.out_type == DType::kBF16) {
    store_row_piece<kVector, BF16>(norm.out, at, left, v);
  } else if constexpr (kOut == DType::kF8E4M3) {
    store_bytes<kVector>(norm.out, at, left, e4m3_quantize4(v, scale));
  } else {
    store_bytes<kVector>(norm.out, at, left, quantize4(v, scale));
  }
}

__device__ __forceinline__ float add_squares(float sum, const float (&v)[kRowPiece]) {
#pragma unroll
  for (int i = 0; i < kRowPiece; ++i) sum = __fmaf_rn(v[i], v[i], sum);
  return sum;
}

__device__ __forceinline__ float add_values(float sum, const float (&v)[kRowPiece]) {
  return __fadd_rn(sum, __fadd_rn(__fadd_rn(v[0], v[1]), __fadd_rn(v[2], v[3])));
}

__device__ __forceinline__ float inverse_root_mean(float squares, int64_t cols, float eps) {
  // A sum beyond float's range would make a row of zeros; NaN keeps it visible.
  if (!(squares < __uint_as_float(0x7f800000u))) return __uint_as_float(0x7fc00000u);
  const float mean = __fdiv_rn(squares, static_cast<float>(cols));
  return __frcp_rn(__fsqrt_rn(__fadd_rn(mean, eps)));
}

// Of a gated update. A y that is not normed goes the same way and its sum is not used: the row is
// in registers, and without the reduction's barrier between them the loads of y, h and the vectors
// spill.
__device__ __forceinline__ float inverse_of_y(const ResidualRowsParams& p, float squares) {
  return p.normed ? inverse_root_mean(squares, p.cols, p.eps) : 1.0f;
}

// v = h, becomes h + update.
template <RowUpdate kUpdate, bool kVector>
__device__ __forceinline__ void update_piece(const ResidualRowsParams& p, int64_t column,
                                             int64_t left, const float (&y)[kRowPiece],
                                             float inverse_y, float (&v)[kRowPiece]) {
  if constexpr (kUpdate == RowUpdate::kAdd) {
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i) v[i] = __fadd_rn(v[i], y[i]);
  } else {
    float weight[kRowPiece], gate[kRowPiece];
    load_vector_piece<kVector>(p.weight, 1.0f, column, left, weight);
    load_vector_piece<kVector>(p.gate, 1.0f, column, left, gate);
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i)
      v[i] = __fmaf_rn(__fmul_rn(y[i], inverse_y), __fmul_rn(weight[i], gate[i]), v[i]);
  }
}

// v = x - mean, becomes t.
template <bool kVector>
__device__ __forceinline__ void weigh_piece(const RowNorm& norm, int64_t column, int64_t left,
                                            float (&v)[kRowPiece]) {
  float weight[kRowPiece], modulation[kRowPiece];
  load_vector_piece<kVector>(norm.weight, 1.0f, column, left, weight);
  load_vector_piece<kVector>(norm.modulation, 0.0f, column, left, modulation);
#pragma unroll
  for (int i = 0; i < kRowPiece; ++i)
    v[i] = __fmul_rn(__fmul_rn(v[i], weight[i]), __fadd_rn(1.0f, modulation[i]));
}

// v = t, becomes the shifted out, for which no inverse is left.
template <bool kVector>
__device__ __forceinline__ void shift_piece(const RowNorm& norm, int64_t column, int64_t left,
                                            float inverse, float (&v)[kRowPiece]) {
  float shift[kRowPiece];
  load_vector_piece<kVector>(norm.shift, 0.0f, column, left, shift);
#pragma unroll
  for (int i = 0; i < kRowPiece; ++i) v[i] = __fmaf_rn(v[i], inverse, shift[i]);
}

struct SumAndMax {
  float sum;
  uint32_t most;
};

// Both of the whole block, behind one barrier. `sums` and `maxima` hold 32 words each and are used
// by this reduction only.
__device__ __forceinline__ SumAndMax block_sum_max(SumAndMax mine, float* sums, uint32_t* maxima) {
  mine = {warp_sum(mine.sum), warp_max(mine.most)};
  const int lane = threadIdx.x % 32;
  if (lane == 0) {
    sums[threadIdx.x / 32] = mine.sum;
    maxima[threadIdx.x / 32] = mine.most;
  }
  __syncthreads();
  const bool warp_exists = lane < static_cast<int>(blockDim.x / 32);
  return {warp_sum(warp_exists ? sums[lane] : 0.0f), warp_max(warp_exists ? maxima[lane] : 0u)};
}

// From the largest |t|; rounding is monotonic, so this is the largest |t * inverse|.
template <DType kOut>
__device__ __forceinline__ DeviceRowScale normed_scale(uint32_t most, float inverse) {
  const uint32_t bits = __float_as_uint(__fmul_rn(__uint_as_float(most), inverse)) & 0x7fffffffu;
  if constexpr (kOut == DType::kF8E4M3) return e4m3_row_scale(bits);
  return device_row_scale(bits);
}

// --- where a held row's columns lie ---

// The thread's first column, and how far behind it its piece i begins. Pieces go round the threads
// of the block; in rows that are turned (below) two pieces of each lane of a warp are 256
// consecutive columns.
template <bool kTurned>
__device__ __forceinline__ int first_column() {
  const int thread = static_cast<int>(threadIdx.x);
  return kTurned ? thread / 32 * 256 + thread % 32 * kRowPiece : thread * kRowPiece;
}
template <int kThreads, bool kTurned>
__device__ constexpr int piece_offset(int i) {
  return kTurned ? i / 2 * (2 * kThreads * kRowPiece) + i % 2 * (32 * kRowPiece)
                 : i * kThreads * kRowPiece;
}

// --- kernels ---

// A block of kThreads a row of up to kColumns. Rows are vectors: cols % 4 == 0, everything aligned.
// The constant offsets make the pieces' addresses one register and constants. kTurned: out_type is
// kI8, and what is quantized is H t * inverse, or H out where there is a shift.
template <RowUpdate kUpdate, class YType, int kChunks, DType kOut = DType::kI8, bool kShift = false,
          bool kTurned = false, int kThreads = HeldNormConfig<kChunks>::kThreads>
__global__ void __launch_bounds__(kThreads,
                                  kTurned&& kThreads == kWideTurnedThreads
                                      ? kWideTurnedBlocks
                                      : kHeldBlocks<kUpdate, YType, kChunks, kOut, kShift>)
    held_norm_rows(const __grid_constant__ ResidualRowsParams p) {
  constexpr bool kUpdated = kUpdate != RowUpdate::kNone;
  __shared__ float sums[3][32];
  __shared__ uint32_t maxima[kShift ? 2 : 1][32];
  const int64_t row_start = int64_t{blockIdx.x} * p.cols;
  const int cols = static_cast<int>(p.cols);
  const auto column_of = [&](int i) {
    return first_column<kTurned>() + piece_offset<kThreads, kTurned>(i);
  };
  // Past the end a zero piece meets the last columns' vectors: 0 again, or NaN where those columns
  // made the row NaN already. No branch keeps the loads together.
  const auto vector_column = [&](int i) { return min(column_of(i), cols - kRowPiece); };

  Piece<F32, kRowPiece> x[kChunks];
  Piece<YType, kRowPiece> y[kUpdated ? kChunks : 1];
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    if constexpr (kUpdated)
      y[i] = load_row_piece<true, RowRead::kOnce, YType>(
          static_cast<const char*>(p.y) + row_start * YType::kBytes, column_of(i),
          cols - column_of(i));
    x[i] = load_row_piece<true, RowRead::kOnce, F32>(p.h + row_start, column_of(i),
                                                     cols - column_of(i));
  }

  float inverse_y = 1.0f;
  if constexpr (kUpdate == RowUpdate::kGated) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      float values[kRowPiece];
      unpack<YType>(y[i], values);
      squares = add_squares(squares, values);
    }
    inverse_y = inverse_of_y(p, block_sum(squares, sums[0]));
  }

  float v[kChunks][kRowPiece];  // x, then h, then t
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    unpack<F32>(x[i], v[i]);
    if constexpr (kUpdated) {
      float values[kRowPiece];
      unpack<YType>(y[i], values);
      update_piece<kUpdate, true>(p, vector_column(i), kRowPiece, values, inverse_y, v[i]);
      store_row_piece<true, F32, true>(p.h, row_start + column_of(i), cols - column_of(i), v[i]);
    }
  }
  const RowNorm& norm = p.next;
  if (kUpdated && norm.out == nullptr) return;

  if (norm.kind == RowNormKind::kLayer) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) sum = add_values(sum, v[i]);
    const float mean = __fdiv_rn(block_sum(sum, sums[1]), static_cast<float>(cols));
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      // What lies past the end must not become -mean.
#pragma unroll
      for (int e = 0; e < kRowPiece; ++e)
        v[i][e] = column_of(i) < cols ? __fsub_rn(v[i][e], mean) : 0.0f;
    }
  }

  SumAndMax mine{0.0f, 0u};
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    mine.sum = add_squares(mine.sum, v[i]);
    weigh_piece<true>(norm, vector_column(i), kRowPiece, v[i]);
    if constexpr (!kTurned) mine.most = max(mine.most, magnitude(v[i]));
  }
  if constexpr (kTurned && !kShift) mine.most = turn_row(norm.group, v);
  SumAndMax all = block_sum_max(mine, sums[2], maxima[0]);
  float inverse = inverse_root_mean(all.sum, p.cols, norm.eps);
  if constexpr (kShift) {
    uint32_t most = 0;
    // Addresses formed anew: those of the vectors before, kept for these, spill.
    int first = first_column<kTurned>();
    asm volatile("" : "+r"(first));
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int column = first + piece_offset<kThreads, kTurned>(i);
      if (column >= cols) continue;  // the last columns' shift would count twice
      shift_piece<true>(norm, column, kRowPiece, inverse, v[i]);
      if constexpr (!kTurned) most = max(most, magnitude(v[i]));
    }
    if constexpr (kTurned) most = turn_row(norm.group, v);
    inverse = 1.0f;
    if (norm.out_type == kOut) all.most = block_max(most, maxima[1]);
  }
  const DeviceRowScale scale = normed_scale<kOut>(all.most, inverse);
  if (norm.out_type == kOut && threadIdx.x == 0) norm.scale[blockIdx.x] = scale.scale;
#pragma unroll
  for (int i = 0; i < kChunks; ++i)
    store_normed<true, kOut>(norm, row_start + column_of(i), cols - column_of(i), v[i], inverse,
                             scale);
}

// Element by element a thread needs more registers than a block of 1024 has.
template <bool kVector>
inline constexpr int kStreamedNormThreads = kVector ? 1024 : 512;

// A block a row of any length; kVector as above, else element by element. kShared: t of the whole
// row stays in dynamic shared memory, cols floats; with it x is read once. A thread meets the same
// columns in every pass, so what it wrote it reads back itself and no barrier is needed for that.
template <RowUpdate kUpdate, class YType, bool kVector, bool kShared, DType kOut = DType::kI8,
          bool kShift = false>
__global__ void __launch_bounds__(kStreamedNormThreads<kVector>, 1)
    streamed_norm_rows(const __grid_constant__ ResidualRowsParams p) {
  static_assert(kVector || !kShared);
  constexpr bool kUpdated = kUpdate != RowUpdate::kNone;
  constexpr int kUnroll = 4;
  constexpr RowRead kRead = kShared ? RowRead::kOnce : RowRead::kAgain;
  extern __shared__ float4 row_in_shared[];
  __shared__ float sums[3][32];
  __shared__ uint32_t maxima[kShift ? 2 : 1][32];
  const int64_t row_start = int64_t{blockIdx.x} * p.cols;
  float* const h = p.h + row_start;
  const char* const y = static_cast<const char*>(p.y) + row_start * YType::kBytes;
  const int64_t step = int64_t{blockDim.x} * kRowPiece;

  // visit(column, values) for the thread's pieces, several loads ahead of their use. Past the end
  // values are 0; visit is not called for whole pieces there.
  const auto each_piece = [&]<class Type>(Type, const void* row, auto&& visit) {
    for (int64_t base = int64_t{threadIdx.x} * kRowPiece; base < p.cols; base += kUnroll * step) {
      Piece<Type, kRowPiece> raw[kUnroll];
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int64_t column = base + i * step;
        raw[i] = load_row_piece<kVector, kRead, Type>(row, column, p.cols - column);
      }
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int64_t column = base + i * step;
        float v[kRowPiece];
        unpack<Type>(raw[i], v);
        if (column < p.cols) visit(column, v);
      }
    }
  };

  if constexpr (kUpdated) {
    float inverse_y = 1.0f;
    if constexpr (kUpdate == RowUpdate::kGated) {
      float squares = 0.0f;
      each_piece(YType{}, y,
                 [&](int64_t, const float(&v)[kRowPiece]) { squares = add_squares(squares, v); });
      inverse_y = inverse_of_y(p, block_sum(squares, sums[0]));
    }
    each_piece(YType{}, y, [&](int64_t column, const float(&values)[kRowPiece]) {
      const int64_t left = p.cols - column;
      float v[kRowPiece];
      unpack<F32>(load_row_piece<kVector, kRead, F32>(h, column, left), v);
      update_piece<kUpdate, kVector>(p, column, left, values, inverse_y, v);
      store_row_piece<kVector, F32>(h, column, left, v);
    });
  }
  const RowNorm& norm = p.next;
  if (kUpdated && norm.out == nullptr) return;

  float mean = 0.0f;
  if (norm.kind == RowNormKind::kLayer) {
    float sum = 0.0f;
    each_piece(F32{}, h, [&](int64_t, const float(&v)[kRowPiece]) { sum = add_values(sum, v); });
    mean = __fdiv_rn(block_sum(sum, sums[1]), static_cast<float>(p.cols));
  }
  // x - mean; 0 past the end, whatever the mean.
  const auto center = [&](int64_t column, const float(&x)[kRowPiece], float(&v)[kRowPiece]) {
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i)
      v[i] = kVector || i < p.cols - column ? __fsub_rn(x[i], mean) : 0.0f;
  };

  SumAndMax mine{0.0f, 0u};
  each_piece(F32{}, h, [&](int64_t column, const float(&x)[kRowPiece]) {
    float v[kRowPiece];
    center(column, x, v);
    mine.sum = add_squares(mine.sum, v);
    weigh_piece<kVector>(norm, column, p.cols - column, v);
    mine.most = max(mine.most, magnitude(v));
    if constexpr (kShared) row_in_shared[column / kRowPiece] = make_float4(v[0], v[1], v[2], v[3]);
  });
  SumAndMax all = block_sum_max(mine, sums[2], maxima[0]);
  const float inverse = inverse_root_mean(all.sum, p.cols, norm.eps);
  // What a value has still to be multiplied with when it is stored: with a shift the inverse comes
  // before.
  const float last_factor = kShift ? 1.0f : inverse;
  if constexpr (kShift) {
    uint32_t most = 0;
    if constexpr (kShared) {
      for (int64_t column = int64_t{threadIdx.x} * kRowPiece; column < p.cols; column += step) {
        const float4 four = row_in_shared[column / kRowPiece];
        float v[kRowPiece] = {four.x, four.y, four.z, four.w};
        shift_piece<true>(norm, column, kRowPiece, inverse, v);
        most = max(most, magnitude(v));
        row_in_shared[column / kRowPiece] = make_float4(v[0], v[1], v[2], v[3]);
      }
    } else if (norm.out_type == kOut) {
      each_piece(F32{}, h, [&](int64_t column, const float(&x)[kRowPiece]) {
        float v[kRowPiece];
        center(column, x, v);
        weigh_piece<kVector>(norm, column, p.cols - column, v);
        shift_piece<kVector>(norm, column, p.cols - column, inverse, v);
        most = max(most, magnitude(v));
      });
    }
    if (norm.out_type == kOut) all.most = block_max(most, maxima[1]);
  }
  const DeviceRowScale scale = normed_scale<kOut>(all.most, last_factor);
  if (norm.out_type == kOut && threadIdx.x == 0) norm.scale[blockIdx.x] = scale.scale;

  if constexpr (kShared) {
#pragma unroll 4
    for (int64_t column = int64_t{threadIdx.x} * kRowPiece; column < p.cols; column += step) {
      const float4 four = row_in_shared[column / kRowPiece];
      const float t[kRowPiece] = {four.x, four.y, four.z, four.w};
      store_normed<true, kOut>(norm, row_start + column, kRowPiece, t, last_factor, scale);
    }
  } else {
    each_piece(F32{}, h, [&](int64_t column, const float(&x)[kRowPiece]) {
      float v[kRowPiece];
      center(column, x, v);
      weigh_piece<kVector>(norm, column, p.cols - column, v);
      if constexpr (kShift) shift_piece<kVector>(norm, column, p.cols - column, inverse, v);
      store_normed<kVector, kOut>(norm, row_start + column, p.cols - column, v, last_factor, scale);
    });
  }
}

}  // namespace intaglio::cuda
