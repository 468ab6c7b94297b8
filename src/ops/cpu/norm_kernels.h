// Row kernels of norm, gated_residual and qk_norm_rope. Plain data only: this header is compiled
// with every set of flags.
//
// The AVX2 and AVX-512 kernels give the same bits: sums run in 64 float lanes (lane = column mod
// 64) that are folded to 16 and added to 16 float64 lanes every 2048 columns; elements are formed
// by the same operations in the same order.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio {

struct NormRowArgs {
  const float* x = nullptr;
  const float* weight = nullptr;      // or nullptr
  const float* modulation = nullptr;  // or nullptr
  const float* shift = nullptr;       // or nullptr
  int64_t cols = 0;
  float eps = 0.0f;
  bool layer = false;          // remove the mean
  DType output = DType::kF32;  // or kBF16, kI8
  void* out = nullptr;
  float* scale = nullptr;  // of this row, kI8 only
};

struct ResidualRowArgs {
  float* h = nullptr;
  const void* y = nullptr;
  bool y_bf16 = false;
  const float* weight = nullptr;  // or nullptr
  const float* gate = nullptr;    // or nullptr
  bool normed = true;             // y / its root mean square, or y
  int64_t cols = 0;
  float eps = 0.0f;
};

// The heads of one token in q or in k. Without a weight they are not normed, without angles not
// rotated.
struct HeadsNormRopeArgs {
  void* x = nullptr;  // [heads, head_dim]
  bool bf16 = false;
  int64_t heads = 0, head_dim = 0;
  const float* weight = nullptr;  // [head_dim] or nullptr
  const float* cosine = nullptr;  // [head_dim / 2], of this token, or nullptr
  const float* sine = nullptr;    // likewise
  bool adjacent = false;          // channels 2j and 2j + 1 turn together, not j and j + d/2
  float eps = 0.0f;
};

void avx2_norm_row(const NormRowArgs& args);
void avx2_gated_residual_row(const ResidualRowArgs& args);
void avx2_heads_norm_rope(const HeadsNormRopeArgs& args);

void avx512_norm_row(const NormRowArgs& args);
void avx512_gated_residual_row(const ResidualRowArgs& args);
void avx512_heads_norm_rope(const HeadsNormRopeArgs& args);

}  // namespace intaglio
