// Rows of floats to int8 rows and scales in one pass over memory, with what comes before the
// quantization fused in.
//
// Formula and edge cases: ops/cuda/quantize_rows_params.h. Every architecture from sm_75 runs the
// same code. A row is cut in pieces of 4 or 8 columns; piece i of a row shared by T threads belongs
// to thread i % T, so that a warp's accesses are contiguous. A thread loads all its pieces before
// it uses one (up to 8 loads of 16 bytes in flight), holds them until the row's absmax is known,
// and writes q. Two kernels:
//   held_rows      a warp a row (up to 128 pieces) or a block a row (2 to 8 pieces a thread, as launch/quantize_rows_shape.h chooses)
//   streamed_rows  rows that do not fit, and ragged or unaligned ones: passes over the row, the later ones out of L2 (132 rows of 213 KB are 28 MB)
//
// What a thread holds: half types of the plain quantizer stay packed (keep_packed), transforms hold
// their floats, so that a transform is evaluated once. The vector of columns (smooth) is read
// through L1, where it stays; the rows themselves bypass it. Its pieces have 4 columns: 16-byte
// reads of the vector are then contiguous over lanes, with 8 columns they would take twice the L1
// cycles.
//
// Floor: bytes moved / copy rate of the card. H100: 3.0 TB/s, which is 12.9 bytes a cycle and SM;
// 128 instructions a cycle and SM. Counted from the source, predicted, not measured:
//   variant             bytes   instructions   issue slots     predicted share of the copy rate
//                       a column               at the floor    4608 x 4608   4608 x 12288   512 x 53248
//   plain bf16, fp16    3       7              24%             0.87          0.93           0.80 (one block an SM)
//   plain f32           5       6              12%             0.91          0.94           0.70 (streamed)
//   SmoothQuant bf16    3       17             57%             0.84          0.88           0.45 (streamed)
// Floors: 4608 x 4608 plain bf16 63.7 MB, 21 us; 4608 x 12288 170 MB, 57 us; 512 x 53248 81.8 MB,
// 27 us. The start and the end of a launch cost about 2 us of their own. Measure:
// bench/cuda/check_quantize_rows.cu.
#pragma once

#include "ops/cuda/kernels/row_quantizer.cuh"
#include "ops/cuda/quantize_rows_params.h"
#include "ops/cuda/tile/activation.cuh"

namespace intaglio::cuda {

// Four floats of a per-column vector, `missing` for each if there is no vector: a multiplication by
// 1 changes no bit, and without a branch the loads of all pieces go out together.
template <bool kVector>
__device__ __forceinline__ void load_columns(const float* vector, float missing, int64_t column,
                                             int64_t left, float (&v)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = missing;
  if constexpr (kVector) {
    if (vector != nullptr) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(vector + column));
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (vector != nullptr && i < left) v[i] = __ldg(vector + column + i);
  }
}

// A transform names its piece, loads it (vector or ragged; zeros past the last column) and turns it
// into floats.
//   kHoldPacked: pieces are held and evaluated twice; else floats are held.
//   kBlockThreads: the block size to stay at (launch/quantize_rows_shape.h).
template <class Type_>
struct PlainRows {
  using Type = Type_;
  using Raw = Piece<Type, 16 / Type::kBytes>;
  static constexpr int kElements = Raw::kElements;
  static constexpr bool kHoldPacked = true;
  static constexpr int kBlockThreads = 384;

  template <bool kVector>
  static __device__ __forceinline__ Raw load(const QuantizeRowsParams& p, const char* row,
                                             int64_t column) {
    if constexpr (kVector) return load_piece<Raw>(row + column * Type::kBytes, column < p.cols);
    return load_ragged<Type, Raw>(row, column, p.cols - column);
  }
  template <bool kVector>
  static __device__ __forceinline__ void evaluate(const QuantizeRowsParams&, const Raw& raw,
                                                  int64_t, float (&v)[kElements]) {
    unpack<Type>(raw, v);
  }
};

template <class Type_>
struct SmoothRows {
  using Type = Type_;
  using Raw = Piece<Type, 4>;
  static constexpr int kElements = 4;
  static constexpr bool kHoldPacked = false;
  static constexpr int kBlockThreads =
      288;  // measured: 4608 columns in 288 threads 29 us, in 160 36 us

  template <bool kVector>
  static __device__ __forceinline__ Raw load(const QuantizeRowsParams& p, const char* row,
                                             int64_t column) {
    if constexpr (kVector) return load_piece<Raw>(row + column * Type::kBytes, column < p.cols);
    return load_ragged<Type, Raw>(row, column, p.cols - column);
  }
  template <bool kVector>
  static __device__ __forceinline__ void evaluate(const QuantizeRowsParams& p, const Raw& raw,
                                                  int64_t column, float (&v)[kElements]) {
    unpack<Type>(raw, v);
    float divisor[kElements];
    load_columns<kVector>(p.smooth, 1.0f, column, p.cols - column, divisor);
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] = __fdiv_rn(v[i], divisor[i]);
  }
};

template <class Transform>
__device__ __forceinline__ const char* row_start(const QuantizeRowsParams& p, int64_t row) {
  return static_cast<const char*>(p.x) + row * p.ldx * Transform::Type::kBytes;
}

// Eight pieces held as floats want more than the 64 registers a thread that a block of 1024 has.
template <class Transform, int kChunks>
constexpr int most_threads() {
  return kChunks == 8 && !Transform::kHoldPacked ? 768 : 1024;
}

// kWarpRow: four warps, each a row of its own; no barrier is used.
template <class Transform, int kChunks, bool kWarpRow>
__global__ __launch_bounds__(kWarpRow ? 128 : most_threads<Transform, kChunks>(),
                             1) void held_rows(const __grid_constant__ QuantizeRowsParams p) {
  constexpr int kElements = Transform::kElements;
  __shared__ uint32_t maxima[32];
  const int threads = kWarpRow ? 32 : blockDim.x;
  const int thread = kWarpRow ? threadIdx.x % 32 : threadIdx.x;
  const int64_t row = kWarpRow ? int64_t{blockIdx.x} * 4 + threadIdx.x / 32 : blockIdx.x;
  if (kWarpRow && row >= p.rows) return;  // a whole warp

  const char* x = row_start<Transform>(p, row);
  typename Transform::Raw raw[kChunks];
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const int64_t column = int64_t{thread + i * threads} * kElements;
    raw[i] = Transform::template load<true>(p, x, column);
  }

  constexpr int kHeld = Transform::kHoldPacked ? 1 : kChunks;
  float held[kHeld][kElements];
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    float(&v)[kElements] = held[Transform::kHoldPacked ? 0 : i];
    const int64_t column = int64_t{thread + i * threads} * kElements;
    // Past the end a zero piece meets the last columns' vectors: 0 again, or NaN where those
    // columns made the row NaN already. No branch keeps the loads together.
    Transform::template evaluate<true>(p, raw[i], min(column, p.cols - int64_t{kElements}), v);
    most = max(most, magnitude(v));
  }
  most = kWarpRow ? warp_max(most) : block_max(most, maxima);

  const DeviceRowScale scale = device_row_scale(most);
  if (thread == 0) p.scale[row] = scale.scale;
  int8_t* q = p.q + row * p.ldq;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const int64_t column = int64_t{thread + i * threads} * kElements;
    if constexpr (Transform::kHoldPacked) {
      keep_packed(raw[i]);
      Transform::template evaluate<true>(p, raw[i], column, held[0]);
    }
    if (column < p.ldq) store_quantized(q + column, held[Transform::kHoldPacked ? 0 : i], scale);
  }
}

// A block a row of any length and alignment. Columns past the end evaluate to 0: their pieces are
// zeros and their vectors read as 1.
template <class Transform, bool kVector>
__global__ __launch_bounds__(1024,
                             1) void streamed_rows(const __grid_constant__ QuantizeRowsParams p) {
  constexpr int kElements = Transform::kElements;
  constexpr int kUnroll = 4;
  __shared__ uint32_t maxima[32];
  const int64_t row = blockIdx.x;
  const char* x = row_start<Transform>(p, row);
  const int64_t step = int64_t{blockDim.x} * kElements;
  const int64_t first = int64_t{threadIdx.x} * kElements;

  // visit(column, raw) for the thread's pieces below `end`, several loads ahead of their use.
  const auto each_piece = [&](int64_t end, auto&& visit) {
    for (int64_t base = first; base < end; base += kUnroll * step) {
      typename Transform::Raw raw[kUnroll];
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        raw[i] = Transform::template load<kVector>(p, x, base + i * step);
      }
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int64_t column = base + i * step;
        if (column < end) visit(column, raw[i]);
      }
    }
  };

  uint32_t most = 0;
  each_piece(p.cols, [&](int64_t column, const typename Transform::Raw& raw) {
    float v[kElements];
    Transform::template evaluate<kVector>(p, raw, column, v);
    most = max(most, magnitude(v));
  });
  most = block_max(most, maxima);
  const DeviceRowScale scale = device_row_scale(most);
  if (threadIdx.x == 0) p.scale[row] = scale.scale;
  int8_t* q = p.q + row * p.ldq;
  each_piece(p.ldq, [&](int64_t column, const typename Transform::Raw& raw) {
    float v[kElements];
    if (column < p.cols) {
      Transform::template evaluate<kVector>(p, raw, column, v);
    } else {
#pragma unroll
      for (int e = 0; e < kElements; ++e) v[e] = 0.0f;
    }
    store_quantized(q + column, v, scale);
  });
}

}  // namespace intaglio::cuda
