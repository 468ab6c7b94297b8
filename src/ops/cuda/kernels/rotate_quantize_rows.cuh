// ConvRot rotation and row quantization in one pass over memory.
//
// Formula: quant/rotation.h, then ops/quantize.h; the same bits as rotate_row followed by the
// reference quantizer, for groups 16, 64, 256, 1024 and 4096. A thread holds 16 consecutive columns
// a chunk. Two radix-4 stages run in registers; for strides 16 and 64 the 16 threads of 256 columns
// exchange through their warp's own shared memory, for 256 and 1024 the 256 threads of 4096 columns
// exchange through the block's (kernels/rotate_layout.h draws both). The quantized bytes go back
// the same way, so that a thread stores 16 bytes. Shared memory rather than shuffles: a radix-4
// stage over lanes takes 3 shuffles a column, and selects; both stages cost one 4-byte write and
// one read here.
//
//   rotated_rows   a block a row, 1 to 3 chunks a thread held as floats
//   streamed_rotated_rows   longer or unaligned rows: rotates twice, once for the absmax and once for q; the second read comes from L2
//
// Floor: 3 bytes a column in bf16. H100 (12.9 bytes a cycle and SM at 3.0 TB/s): 4.3 columns a
// cycle and SM. Counted a column, not measured: about 18 instructions for group 256 (8 of the
// butterflies, 2 of the exchange, 3 of the transposition, 3 of the rounding, 2 of the absmax) = 60%
// of the issue slots; shared memory 10 bytes = 34% of its cycles. Predicted share of the copy rate
// at 4608 x 4608 and 4608 x 12288: group 16 0.87 and 0.90; 64 and 256 0.82 and 0.85; 1024 and 4096
// (12288 only) 0.65, with 24 instructions and block barriers; 512 x 53248, streamed, 0.45. Measure:
// bench/cuda/check_quantize_rows.cu.
#pragma once

#include "ops/cuda/kernels/rotate_layout.h"
#include "ops/cuda/kernels/row_quantizer.cuh"
#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

constexpr int kRotateColumns = 16;  // of a chunk

// One stage over 16 registers: radix 4 at register stride kStride (1 or 4).
template <int kStride>
__device__ __forceinline__ void butterflies(float (&v)[16]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int first = kStride == 1 ? 4 * k : k;
    const float x0 = v[first], x1 = v[first + kStride];
    const float x2 = v[first + 2 * kStride], x3 = v[first + 3 * kStride];
    const float s = __fmul_rn(__fadd_rn(__fadd_rn(x0, x1), __fadd_rn(x2, x3)), 0.5f);
    v[first] = __fsub_rn(s, x3);
    v[first + kStride] = __fsub_rn(s, x2);
    v[first + 2 * kStride] = __fsub_rn(s, x1);
    v[first + 3 * kStride] = __fsub_rn(s, x0);
  }
}

// Rotates the thread's 16 consecutive columns; above group 16 they come out in the layout of the
// last exchange. `scratch` is the block's; every thread of the warp (group <= 256) or of the block
// calls this together.
template <int kGroup>
__device__ __forceinline__ void rotate16(float (&v)[16], float* scratch) {
  butterflies<1>(v);
  butterflies<4>(v);
  if constexpr (kGroup >= 64) {
    const int lane = threadIdx.x % 32;
    float* warp_scratch = scratch + threadIdx.x / 32 * kWarpScratch;
    __syncwarp();  // the previous use of the scratch has been read
#pragma unroll
    for (int quad = 0; quad < 4; ++quad)
      *reinterpret_cast<float4*>(warp_scratch + small_write(lane, quad)) =
          make_float4(v[4 * quad], v[4 * quad + 1], v[4 * quad + 2], v[4 * quad + 3]);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16; ++i) v[i] = warp_scratch[small_read(lane, i)];
    butterflies<1>(v);
    if constexpr (kGroup >= 256) butterflies<4>(v);
  }
  if constexpr (kGroup >= 1024) {
    const int thread = threadIdx.x % kTileThreads;
    float* tile = scratch + threadIdx.x / kTileThreads * (8 * kWarpScratch);
    __syncthreads();  // every warp of the tile has read its small exchange
#pragma unroll
    for (int i = 0; i < 16; ++i) tile[large_write(thread, i)] = v[i];
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 16; ++j) v[j] = tile[large_read(thread, j)];
    butterflies<1>(v);
    if constexpr (kGroup >= 4096) butterflies<4>(v);
    __syncthreads();  // the next chunk writes the warps' scratch
  }
}

// The 16 bytes of the thread's consecutive columns, from values in the layout rotate16 left.
template <int kGroup>
__device__ __forceinline__ uint4 quantize16(const float (&v)[16], const DeviceRowScale& row,
                                            float* scratch) {
  uint32_t word[4];
#pragma unroll
  for (int a = 0; a < 4; ++a) word[a] = quantize4(v + 4 * a, row);
  if constexpr (kGroup == 16) return make_uint4(word[0], word[1], word[2], word[3]);

  constexpr bool kLarge = kGroup >= 1024;
  const int lane = kLarge ? threadIdx.x % kTileThreads : threadIdx.x % 32;
  auto* shared =
      reinterpret_cast<uint32_t*>(kLarge ? scratch + threadIdx.x / kTileThreads * (8 * kWarpScratch)
                                         : scratch + threadIdx.x / 32 * kWarpScratch);
  const auto barrier = [] {
    if constexpr (kLarge) {
      __syncthreads();
    } else {
      __syncwarp();
    }
  };
  barrier();  // the previous use of the scratch has been read
#pragma unroll
  for (int a = 0; a < 4; ++a)
    shared[kLarge ? large_word_write(lane, a) : small_word_write(lane, a)] = word[a];
  barrier();
  const uint32_t byte = kLarge ? large_byte(lane) : small_byte(lane);
  const uint32_t select = byte | (byte + 4) << 4;
  uint32_t out[4];
#pragma unroll
  for (int quad = 0; quad < 4; ++quad) {
    const uint4 four = *reinterpret_cast<const uint4*>(
        shared + (kLarge ? large_word_read(lane, quad) : small_word_read(lane, quad)));
    out[quad] = __byte_perm(__byte_perm(four.x, four.y, select),
                            __byte_perm(four.z, four.w, select), 0x5410);
  }
  return make_uint4(out[0], out[1], out[2], out[3]);
}

// 16 consecutive columns as they lie in memory.
template <class Type>
struct Raw16 {
  static constexpr int kPieces = kRotateColumns * Type::kBytes / 16;
  using Part = Piece<Type, 16 / Type::kBytes>;
  Part part[kPieces];
};

// Aligned: the pieces of a thread are neighbours, so a warp's loads share sectors; they go through
// L1, where the second finds what the first brought.
template <class Type, bool kVector>
__device__ __forceinline__ Raw16<Type> load16(const QuantizeRowsParams& p, const char* row,
                                              int64_t column) {
  using Raw = Raw16<Type>;
  Raw raw;
#pragma unroll
  for (int i = 0; i < Raw::kPieces; ++i) {
    // Columns are a multiple of 16: all of the chunk is there or none.
    const int64_t at = column + i * Raw::Part::kElements;
    if constexpr (kVector) {
      raw.part[i] = load_piece<typename Raw::Part, false>(row + at * Type::kBytes, column < p.cols);
    } else {
      raw.part[i] = load_ragged<Type, typename Raw::Part>(row, at, p.cols - at);
    }
  }
  return raw;
}

template <class Type>
__device__ __forceinline__ void unpack16(const Raw16<Type>& raw, float (&v)[16]) {
  constexpr int kElements = Raw16<Type>::Part::kElements;
#pragma unroll
  for (int i = 0; i < Raw16<Type>::kPieces; ++i) {
    float part[kElements];
    unpack<Type>(raw.part[i], part);
#pragma unroll
    for (int e = 0; e < kElements; ++e) v[i * kElements + e] = part[e];
  }
}

// Dynamic shared memory: rotate_scratch_bytes(threads). Threads are a multiple of 32, above group
// 256 of 256.
inline constexpr int rotate_scratch_bytes(int threads, int group) {
  return group == 16 ? 0 : threads / 32 * kWarpScratch * 4;
}

template <class Type, int kGroup, int kChunks>
__global__ __launch_bounds__(512,
                             1) void rotated_rows(const __grid_constant__ QuantizeRowsParams p) {
  extern __shared__ float4 scratch4[];
  float* scratch = reinterpret_cast<float*>(scratch4);
  __shared__ uint32_t maxima[32];
  const int64_t row = blockIdx.x;
  const char* x = static_cast<const char*>(p.x) + row * p.ldx * Type::kBytes;

  Raw16<Type> raw[kChunks];
#pragma unroll
  for (int i = 0; i < kChunks; ++i)
    raw[i] = load16<Type, true>(p, x, int64_t{threadIdx.x + i * blockDim.x} * kRotateColumns);

  float held[kChunks][16];
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    unpack16<Type>(raw[i], held[i]);
    rotate16<kGroup>(held[i], scratch);
    most = max(most, magnitude(held[i]));
  }
  const DeviceRowScale scale = device_row_scale(block_max(most, maxima));
  if (threadIdx.x == 0) p.scale[row] = scale.scale;
  int8_t* q = p.q + row * p.ldq;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const int64_t column = int64_t{threadIdx.x + i * blockDim.x} * kRotateColumns;
    const uint4 bytes = quantize16<kGroup>(held[i], scale, scratch);
    if (column < p.ldq) *reinterpret_cast<uint4*>(q + column) = bytes;
  }
}

template <class Type, int kGroup, bool kVector>
__global__ __launch_bounds__(512, 1) void streamed_rotated_rows(
    const __grid_constant__ QuantizeRowsParams p) {
  extern __shared__ float4 scratch4[];
  float* scratch = reinterpret_cast<float*>(scratch4);
  __shared__ uint32_t maxima[32];
  const int64_t row = blockIdx.x;
  const char* x = static_cast<const char*>(p.x) + row * p.ldx * Type::kBytes;
  const int64_t step = int64_t{blockDim.x} * kRotateColumns;
  const int64_t first = int64_t{threadIdx.x} * kRotateColumns;
  int8_t* q = p.q + row * p.ldq;

  // The trip count is that of the block, not of the thread: exchanges need every thread. The next
  // chunk's loads are issued before this chunk is worked on.
  const auto each_chunk = [&](auto&& visit) {
    Raw16<Type> next = load16<Type, kVector>(p, x, first);
    for (int64_t base = 0; base < p.ldq; base += step) {
      const Raw16<Type> raw = next;
      next = load16<Type, kVector>(p, x, base + step + first);
      float v[16];
      unpack16<Type>(raw, v);
      rotate16<kGroup>(v, scratch);
      visit(base + first, v);
    }
  };

  uint32_t most = 0;
  each_chunk([&](int64_t, const float(&v)[16]) { most = max(most, magnitude(v)); });
  const DeviceRowScale scale = device_row_scale(block_max(most, maxima));
  if (threadIdx.x == 0) p.scale[row] = scale.scale;
  each_chunk([&](int64_t column, const float(&v)[16]) {
    const uint4 bytes = quantize16<kGroup>(v, scale, scratch);
    // Above group 256 the next chunk's first exchange is the warp's own, in memory that other warps
    // may still read here.
    if constexpr (kGroup >= 1024) __syncthreads();
    if (column < p.ldq) *reinterpret_cast<uint4*>(q + column) = bytes;
  });
}

}  // namespace intaglio::cuda
