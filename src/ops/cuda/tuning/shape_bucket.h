// Rows in buckets, so that a new prompt length finds the choice of its neighbours and never asks
// for tuning.
//
//   1, 2, 4, ... 64            powers of two: such products are bound by the bytes of the weights, which m does not change
//   128, 256, ... 1024         every 128: all m of a bucket have the same rows of tiles, for tiles of 128 rows
//   then 8 steps an octave     1152, 1280, ... 2048, 2304, 2560, ...: inside a bucket the tiles differ by at most one in eight, so the best
//                              configuration differs by less than tuning can tell from noise
//
// A picture of 1024 x 1024 pixels with any prompt of up to 2048 tokens (4097 to 6144 rows) meets
// four buckets: 4608, 5120, 5632, 6144.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio::cuda {

// The largest m of the bucket of m: what is measured for all of them, and the bucket's name. m
// below 1 counts as 1.
int64_t bucket_m(int64_t m);

// The buckets of all m in [first, last], ascending.
std::vector<int64_t> buckets_between(int64_t first, int64_t last);

// `shape` with its m replaced by its bucket.
S8GemmShape bucketed(const S8GemmShape& shape);

}  // namespace intaglio::cuda
