// From int32 accumulators in registers to output rows in global memory; for every kernel whose warp
// holds m16 x n8 blocks in the layout of mma.sync and wgmma (tile/mma_layout.h): with g = lane / 4,
// t = lane % 4
//
//   acc[j][0], acc[j][1]: row g,     columns 8 j + 2 t + {0, 1}
//   acc[j][2], acc[j][3]: row g + 8, the same columns
//
//   y = float(acc) * (a_scale_row * w_scale_col) + bias, each step rounded: the bits of the CPU
//   reference. Hence the _rn intrinsics,
//   which the compiler must not contract to a fused multiply-add. A low-rank branch joins them
//   (tile/side_branch.cuh): y = (acc * a_scale_row + branch) * w_scale_col + bias.
//
// Work goes by 32 columns (four blocks): that is one group of gated pairs (blocks 0, 1 gate, 2, 3
// up), and for 2-byte outputs four lanes hold four blocks of a row as 4-byte pieces. A transpose of
// 4 x 4 pieces between the four lanes (four shuffles) gives each lane a whole block, 16 bytes. So
// every store writes full 32-byte sectors with no trip through shared memory, no barrier and no
// bytes taken from the main loop's stages. 4-byte outputs write full sectors without it: four lanes
// x 8 bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/activation.cuh"
#include "ops/cuda/tile/mma_layout.h"
#include "ops/cuda/tile/side_branch.cuh"

namespace intaglio::cuda {

// Scales and biases of two adjacent columns. -0 stands for no bias: x + -0 is x for every x, both
// zeros included.
struct ColumnPair {
  float scale0, scale1, bias0, bias1;
};

// The output as stores see it: `cols` is n / 2 of gated pairs.
struct OutputView {
  void* data;
  int64_t ldo;
  int32_t rows, cols;
  DType type;
  bool pairs;   // two adjacent elements from an even column are one aligned store
  bool blocks;  // 2-byte outputs: eight elements from a multiple of 8 are one aligned 16-byte store
};

__device__ __forceinline__ OutputView output_view(const S8GemmParams& p) {
  const bool half = p.out_type == DType::kBF16 || p.out_type == DType::kF16;
  const auto address = reinterpret_cast<uintptr_t>(p.out);
  return {.data = p.out,
          .ldo = p.ldo,
          .rows = p.m,
          .cols = out_columns(p),
          .type = p.out_type,
          .pairs = p.ldo % 2 == 0 && address % (half ? 4 : 8) == 0,
          .blocks = half && p.ldo % 8 == 0 && address % 16 == 0};
}

__device__ __forceinline__ ColumnPair load_column_pair(const S8GemmParams& p, int col) {
  ColumnPair c{0.0f, 0.0f, -0.0f, -0.0f};
  if (col < p.n) {
    c.scale0 = __ldg(p.w_scale_col + col);
    if (p.bias != nullptr) c.bias0 = __ldg(p.bias + col);
  }
  if (col + 1 < p.n) {
    c.scale1 = __ldg(p.w_scale_col + col + 1);
    if (p.bias != nullptr) c.bias1 = __ldg(p.bias + col + 1);
  }
  return c;
}

__device__ __forceinline__ float load_row_scale(const S8GemmParams& p, int row) {
  return row < p.m ? __ldg(p.a_scale_row + row) : 0.0f;
}

__device__ __forceinline__ float scale_one(int32_t acc, float row_scale, float col_scale,
                                           float bias) {
  return __fadd_rn(__fmul_rn(__int2float_rn(acc), __fmul_rn(row_scale, col_scale)), bias);
}

__device__ __forceinline__ float2 scale_pair(int32_t acc0, int32_t acc1, float row_scale,
                                             const ColumnPair& c) {
  return {scale_one(acc0, row_scale, c.scale0, c.bias0),
          scale_one(acc1, row_scale, c.scale1, c.bias1)};
}

// The same in two steps, between which a side branch joins: sum = acc * row_scale + branch.
__device__ __forceinline__ float scale_row(int32_t acc, float row_scale) {
  return __fmul_rn(__int2float_rn(acc), row_scale);
}
__device__ __forceinline__ float scale_column(float sum, float col_scale, float bias) {
  return __fadd_rn(__fmul_rn(sum, col_scale), bias);
}

// Columns col, col + 1 with the side branch, element by element: for kernels that hold no blocks.
__device__ __forceinline__ float2 scale_pair_with_side(const S8GemmParams& p, int row, int col,
                                                       int2 acc, float row_scale,
                                                       const ColumnPair& c) {
  const float2 side = side_branch_pair(p, row, col);
  return {scale_column(__fadd_rn(scale_row(acc.x, row_scale), side.x), c.scale0, c.bias0),
          scale_column(__fadd_rn(scale_row(acc.y, row_scale), side.y), c.scale1, c.bias1)};
}

template <class Math, class Epilogue>
__device__ __forceinline__ float2 activate_pair(float2 y) {
  constexpr typename Epilogue::Function kFunction;
  return {activate<Math>(kFunction, y.x), activate<Math>(kFunction, y.y)};
}

template <class Math, class Epilogue>
__device__ __forceinline__ float2 gate_pair(float2 gate, float2 up) {
  const float2 y = activate_pair<Math, Epilogue>(gate);
  return {__fmul_rn(y.x, up.x), __fmul_rn(y.y, up.y)};
}

// Two floats as two bf16 or fp16, the first in the low half.
__device__ __forceinline__ uint32_t pack_half_pair(float2 y, DType type) {
  if (type == DType::kBF16) {
    const __nv_bfloat162 v = __floats2bfloat162_rn(y.x, y.y);
    return *reinterpret_cast<const uint32_t*>(&v);
  }
  const __half2 v = __floats2half2_rn(y.x, y.y);
  return *reinterpret_cast<const uint32_t*>(&v);
}

// Before: v[j] is this lane's piece of block j. After: v[i] is lane i's (of the four) piece of
// block lane % 4.
__device__ __forceinline__ void quad_transpose(uint32_t (&v)[4], int lane) {
  constexpr uint32_t kAll = 0xffffffffu;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const bool upper = (lane & 1) != 0;
    const uint32_t got = __shfl_xor_sync(kAll, upper ? v[j] : v[j + 1], 1);
    v[j] = upper ? got : v[j];
    v[j + 1] = upper ? v[j + 1] : got;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const bool upper = (lane & 2) != 0;
    const uint32_t got = __shfl_xor_sync(kAll, upper ? v[j] : v[j + 2], 2);
    v[j] = upper ? got : v[j];
    v[j + 2] = upper ? v[j + 2] : got;
  }
}

// Two adjacent elements, bits of 4-byte outputs. `col` is even.
__device__ __forceinline__ void store_word_pair(const OutputView& out, int row, int col,
                                                uint2 bits) {
  if (row >= out.rows || col >= out.cols) return;
  auto* to = static_cast<uint32_t*>(out.data) + int64_t{row} * out.ldo + col;
  if (out.pairs && col + 1 < out.cols) {
    *reinterpret_cast<uint2*>(to) = bits;
    return;
  }
  to[0] = bits.x;
  if (col + 1 < out.cols) to[1] = bits.y;
}

// Two adjacent elements of a 2-byte output, packed. `col` is even.
__device__ __forceinline__ void store_half_pair(const OutputView& out, int row, int col,
                                                uint32_t packed) {
  if (row >= out.rows || col >= out.cols) return;
  auto* to = static_cast<uint16_t*>(out.data) + int64_t{row} * out.ldo + col;
  if (out.pairs && col + 1 < out.cols) {
    *reinterpret_cast<uint32_t*>(to) = packed;
    return;
  }
  to[0] = static_cast<uint16_t>(packed);
  if (col + 1 < out.cols) to[1] = static_cast<uint16_t>(packed >> 16);
}

// Two adjacent values of any float output type.
__device__ __forceinline__ void store_pair(const OutputView& out, int row, int col, float2 y) {
  if (out.type == DType::kF32) {
    store_word_pair(out, row, col, {__float_as_uint(y.x), __float_as_uint(y.y)});
  } else {
    store_half_pair(out, row, col, pack_half_pair(y, out.type));
  }
}

// Raw int32, no scales.
__device__ __forceinline__ void write_m16n32_i32(const OutputView& out, int lane, int row0,
                                                 int col0, const int32_t (*acc)[4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row0 + accumulator_row(lane) + 8 * half;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      store_word_pair(
          out, row, col0 + 8 * j + accumulator_column(lane),
          {static_cast<uint32_t>(acc[j][2 * half]), static_cast<uint32_t>(acc[j][2 * half + 1])});
    }
  }
}

// y[j] of the sums acc[j].
__device__ __forceinline__ void scale_m16n32(float (&y)[4][4], const float (&row_scale)[2],
                                             const ColumnPair (&columns)[4],
                                             const int32_t (*acc)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 pair =
          scale_pair(acc[j][2 * half], acc[j][2 * half + 1], row_scale[half], columns[j]);
      y[j][2 * half] = pair.x;
      y[j][2 * half + 1] = pair.y;
    }
  }
}

// With the side branch; `row`: this lane's.
__device__ __forceinline__ void scale_m16n32_with_side(float (&y)[4][4], const S8GemmParams& p,
                                                       int lane, int row, int col0,
                                                       const float (&row_scale)[2],
                                                       const ColumnPair (&columns)[4],
                                                       const int32_t (*acc)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) y[j][e] = scale_row(acc[j][e], row_scale[e / 2]);
  }
  add_side_branch(y, p, lane, row, col0);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const ColumnPair& c = columns[j];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      y[j][e] = scale_column(y[j][e], e % 2 ? c.scale1 : c.scale0, e % 2 ? c.bias1 : c.bias0);
    }
  }
}

__device__ __forceinline__ float2 pair_of(const float (&y)[4], int half) {
  return {y[2 * half], y[2 * half + 1]};
}

// Blocks 0, 1 of the 16 outputs that the four blocks of a group of gated pairs make, of a half of
// the rows.
template <class Math, class Epilogue>
__device__ __forceinline__ float2 gate_block(const float (&y)[4][4], int half, int j) {
  return gate_pair<Math, Epilogue>(pair_of(y[j], half), pair_of(y[j + 2], half));
}

// Columns col0 .. col0 + 31 of the rows row0 .. row0 + 15 of a warp; `columns[j]` belongs to
// columns col0 + 8 j + 2 t. Gated, 16 output columns from col0 / 2. The checked form takes any
// output: ragged columns, any alignment, any type.
template <class Epilogue>
__device__ __forceinline__ void write_m16n32_checked(const S8GemmParams& p, const OutputView& out,
                                                     int lane, int row0, int col0,
                                                     const float (&row_scale)[2],
                                                     const ColumnPair (&columns)[4],
                                                     const int32_t (*acc)[4]) {
  const int row = row0 + accumulator_row(lane), column = accumulator_column(lane);
  float y[4][4];
  if (p.side_rank > 0) {
    scale_m16n32_with_side(y, p, lane, row, col0, row_scale, columns, acc);
  } else {
    scale_m16n32(y, row_scale, columns, acc);
  }
  if constexpr (Epilogue::kGated) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        store_pair(out, row + 8 * half, col0 / 2 + 8 * j + column,
                   out.type == DType::kF32 ? gate_block<ExactMath, Epilogue>(y, half, j)
                                           : gate_block<FastMath, Epilogue>(y, half, j));
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 pair = pair_of(y[j], half);
        store_pair(out, row + 8 * half, col0 + 8 * j + column,
                   out.type == DType::kF32 ? activate_pair<ExactMath, Epilogue>(pair)
                                           : activate_pair<FastMath, Epilogue>(pair));
      }
    }
  }
}

// Whether a warp's tile lies inside the output, of 2 bytes an element in aligned rows, with scales
// and biases in aligned pairs.
__device__ __forceinline__ bool is_whole_tile(const S8GemmParams& p, const OutputView& out,
                                              int rows_end, int cols_end) {
  const auto pairs = [](const float* x) { return reinterpret_cast<uintptr_t>(x) % 8 == 0; };
  return out.blocks && rows_end <= p.m && cols_end <= p.n && pairs(p.w_scale_col) && pairs(p.bias);
}

// Such a tile: a straight line of code without checks, in which the loads of scales can go ahead.
// Every lane stores 16 bytes; all 32 lanes call it.
template <int kMi, int kNi, DType kType, class Epilogue>
__device__ __forceinline__ void write_whole_tile(const S8GemmParams& p, int lane, int row0,
                                                 int col0, const int32_t (&acc)[kMi][kNi][4]) {
  constexpr bool kGated = Epilogue::kGated;
  const int row = row0 + accumulator_row(lane);
  // Asked for early where 192 accumulators do not take all registers.
  constexpr bool kEarly = kMi * kNi * 4 <= 128;
  float row_scale[kMi][2];
  const auto load_row_scales = [&](int mi) {
    row_scale[mi][0] = __ldg(p.a_scale_row + row + 16 * mi);
    row_scale[mi][1] = __ldg(p.a_scale_row + row + 16 * mi + 8);
  };
#pragma unroll
  for (int mi = 0; mi < kMi; ++mi)
    if (kEarly) load_row_scales(mi);
  // Gated: the two blocks of two rows are the four pieces of the transpose, so a store writes 32
  // bytes of 16 rows.
  auto* const first = static_cast<uint16_t*>(p.out) +
                      int64_t{kGated ? row + lane % 4 / 2 * 8 : row} * p.ldo +
                      (kGated ? col0 / 2 + lane % 2 * 8 : col0 + 8 * (lane % 4));
#pragma unroll
  for (int group = 0; group < kNi / 4; ++group) {
    ColumnPair columns[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int col = col0 + 32 * group + 8 * j + accumulator_column(lane);
      const float2 scale = __ldg(reinterpret_cast<const float2*>(p.w_scale_col + col));
      const float2 bias = p.bias != nullptr ? __ldg(reinterpret_cast<const float2*>(p.bias + col))
                                            : float2{-0.0f, -0.0f};
      columns[j] = {scale.x, scale.y, bias.x, bias.y};
    }
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
      if (!kEarly) load_row_scales(mi);
      const int32_t(*const sums)[4] = &acc[mi][4 * group];
      uint16_t* const to = first + 16 * mi * p.ldo + (kGated ? 16 : 32) * group;
      float y[4][4];
      scale_m16n32(y, row_scale[mi], columns, sums);
      uint32_t v[4];
      if constexpr (kGated) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          v[i] = pack_half_pair(gate_block<FastMath, Epilogue>(y, i / 2, i % 2), kType);
        quad_transpose(v, lane);
        *reinterpret_cast<uint4*>(to) = make_uint4(v[0], v[1], v[2], v[3]);
      } else {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int j = 0; j < 4; ++j)
            v[j] = pack_half_pair(activate_pair<FastMath, Epilogue>(pair_of(y[j], half)), kType);
          quad_transpose(v, lane);
          *reinterpret_cast<uint4*>(to + 8 * half * p.ldo) = make_uint4(v[0], v[1], v[2], v[3]);
        }
      }
    }
  }
}

// A warp's whole tile: kMi x 16 rows from row0, kNi x 8 columns from col0 (a multiple of 32, the
// same in all lanes). The choice of output is made once, outside the unrolled loops, so that the
// usual one is a straight line of code.
template <int kMi, int kNi>
__device__ __forceinline__ void write_warp_tile(const S8GemmParams& p, int lane, int row0, int col0,
                                                const int32_t (&acc)[kMi][kNi][4]) {
  static_assert(kNi % 4 == 0, "columns go in groups of 32");
  using Scales = const float(&)[2];
  using Columns = const ColumnPair(&)[4];
  using Acc = const int32_t(*)[4];
  const OutputView out = output_view(p);
  if (col0 >= p.n) return;
  if (out.type == DType::kI32) {
#pragma unroll
    for (int group = 0; group < kNi / 4; ++group) {
#pragma unroll
      for (int mi = 0; mi < kMi; ++mi) {
        write_m16n32_i32(out, lane, row0 + 16 * mi, col0 + 32 * group, &acc[mi][4 * group]);
      }
    }
    return;
  }
  // With a side branch the checked form: one form more would double what is compiled.
  if (p.side_rank == 0 && is_whole_tile(p, out, row0 + 16 * kMi, col0 + 8 * kNi)) {
    visit_epilogue(p.epilogue, [&](auto epilogue) {
      using Epilogue = decltype(epilogue);
      if (out.type == DType::kBF16) {
        write_whole_tile<kMi, kNi, DType::kBF16, Epilogue>(p, lane, row0, col0, acc);
      } else {
        write_whole_tile<kMi, kNi, DType::kF16, Epilogue>(p, lane, row0, col0, acc);
      }
    });
    return;
  }
  const auto each = [&](auto&& write) {
#pragma unroll
    for (int group = 0; group < kNi / 4; ++group) {
      const int group_col = col0 + 32 * group;
      ColumnPair columns[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        columns[j] = load_column_pair(p, group_col + 8 * j + accumulator_column(lane));
      }
#pragma unroll
      for (int mi = 0; mi < kMi; ++mi) {
        const int group_row = row0 + 16 * mi;
        const int row = group_row + accumulator_row(lane);
        const float row_scale[2] = {load_row_scale(p, row), load_row_scale(p, row + 8)};
        write(group_row, group_col, row_scale, columns, &acc[mi][4 * group]);
      }
    }
  };
  visit_epilogue(p.epilogue, [&](auto epilogue) {
    each([&](int row, int col, Scales rs, Columns cs, Acc x) {
      write_m16n32_checked<decltype(epilogue)>(p, out, lane, row, col, rs, cs, x);
    });
  });
}

}  // namespace intaglio::cuda
