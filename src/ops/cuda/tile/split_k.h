// How k is cut when there are fewer output tiles than the card has room for. Host only; checked on
// the CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

// int32 partial sums [splits][m, ld] in the caller's workspace, 16-byte aligned.
struct S8SplitK {
  int splits;           // 1: no partial sums
  int steps_per_split;  // k tiles (or steps) of each split but the last, which may have fewer
  int64_t ld;

  size_t partial_bytes(const S8GemmParams& p) const {
    return size_t(splits) * size_t(p.m) * size_t(ld) * sizeof(int32_t);
  }
};

// No split is empty: `wanted` is lowered until every one has a step.
inline S8SplitK split_k_plan(const S8GemmParams& p, int steps, int wanted) {
  int splits = wanted < 1 ? 1 : wanted;
  if (splits > steps) splits = steps < 1 ? 1 : steps;
  const int per_split = (steps + splits - 1) / splits;
  if (per_split > 0) splits = (steps + per_split - 1) / per_split;
  return {splits, per_split, (int64_t{p.n} + 3) / 4 * 4};
}

}  // namespace intaglio::cuda
