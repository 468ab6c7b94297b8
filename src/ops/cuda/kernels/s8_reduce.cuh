// s8_reduce: the second half of a split-K product. partials [splits][m, ld] int32 -> the epilogue
// of s8_gemm_params.h. Integer sums do not depend on their order, so a split changes no bit of the
// result. One thread makes two adjacent outputs; reads are 8 bytes a lane and coalesced. Bound by
// memory: 4 * splits * m * n bytes, mostly from L2.
#pragma once

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/epilogue.cuh"

namespace intaglio::cuda {

struct S8ReduceArgs {
  S8GemmParams p;           // the caller's: real output, scales, epilogue
  const int32_t* partials;  // [splits][p.m, ld]
  int64_t ld;               // even, >= p.n
  int32_t splits;
};

inline constexpr int kS8ReduceThreads = 256;

__device__ __forceinline__ int2 sum_partial_pair(const S8ReduceArgs& args, int row, int col) {
  int2 sum{0, 0};
  const int32_t* from = args.partials + int64_t{row} * args.ld + col;
  for (int split = 0; split < args.splits; ++split) {
    const int2 part = *reinterpret_cast<const int2*>(from);
    sum.x += part.x;
    sum.y += part.y;
    from += int64_t{args.p.m} * args.ld;
  }
  return sum;
}

__global__ void __launch_bounds__(kS8ReduceThreads)
    s8_reduce_kernel(const __grid_constant__ S8ReduceArgs args) {
  const OutputView out = output_view(args.p);
  const int pairs = (out.cols + 1) / 2;
  const int64_t index = int64_t{blockIdx.x} * kS8ReduceThreads + threadIdx.x;
  if (index >= int64_t{out.rows} * pairs) return;
  const int row = static_cast<int>(index / pairs);
  const int col = static_cast<int>(index % pairs) * 2;
  if (out.type == DType::kI32) {
    const int2 sum = sum_partial_pair(args, row, col);
    store_word_pair(out, row, col, {static_cast<uint32_t>(sum.x), static_cast<uint32_t>(sum.y)});
    return;
  }
  const float row_scale = load_row_scale(args.p, row);
  const auto value = [&](int at) {
    const int2 sum = sum_partial_pair(args, row, at);
    const ColumnPair columns = load_column_pair(args.p, at);
    return args.p.side_rank > 0 ? scale_pair_with_side(args.p, row, at, sum, row_scale, columns)
                                : scale_pair(sum.x, sum.y, row_scale, columns);
  };
  visit_epilogue(args.p.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    const bool exact = out.type == DType::kF32;
    if constexpr (Epilogue::kGated) {
      const int gate = col / 16 * 32 + col % 16;
      const float2 g = value(gate), up = value(gate + 16);
      store_pair(
          out, row, col,
          exact ? gate_pair<ExactMath, Epilogue>(g, up) : gate_pair<FastMath, Epilogue>(g, up));
    } else {
      const float2 y = value(col);
      store_pair(
          out, row, col,
          exact ? activate_pair<ExactMath, Epilogue>(y) : activate_pair<FastMath, Epilogue>(y));
    }
  });
}

}  // namespace intaglio::cuda
