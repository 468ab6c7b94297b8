// Rounding to int8 rows that knows what a linear reads (GPTQ: Frantar, Ashkboos, Hoefler, Alistarh,
// "GPTQ: accurate post-training quantization for generative pre-trained transformers", ICLR 2023):
// what rounding a column has changed of the outputs, the columns that follow make up for.
//
// For rows x [r, k] that the linear read, a row w of weights becomes q of int8 and a scale s that
// bring
//   |(s q - w) x^T|^2 + damping |s q - w|^2
// down column by column, those with most energy in x first. Published implementations hold the
// inverse of x^T x + damping, [k, k]. Where r is far below k the same numbers come cheaper: with
// R = sum over the columns c that are done of (s q_c - w_c) x_c, in R^r, the best that a column can
// do is w_c - R m_c, where
//   m_c = (damping I + sum over the columns not yet done, c among them, of x_i x_i^T)^-1 x_c
// depends on x alone. A row takes 4 k r operations.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/rotation.h"

namespace intaglio {

class GptqRounding {
 public:
  // `x`: F32 [rows, cols], finite, at least one row: in the grid in which the product reads them,
  // columns turned and smoothed as the weights' are.
  GptqRounding(std::span<const float> x, int64_t cols);
  // Of rows as they were before: divided by `smooth` (empty: not), turned, each rounded to int8
  // with a scale of its own, as activations are.
  static GptqRounding of_inputs(std::span<const float> x, int64_t cols,
                                std::span<const float> smooth, const Rotation& rotation);

  int64_t cols() const { return static_cast<int64_t>(order_.size()); }
  // `w`: F32 [rows, cols]; q: [rows, cols]; scale: [rows], max(max |w| / 127, 1e-30) as of nearest
  // rounding.
  void round_rows(const float* w, int64_t rows, int8_t* q, float* scale) const;

 private:
  void round_block(const float* w, int64_t rows, int8_t* q, float* scale) const;

  int64_t rows_ = 0;                  // of x, a multiple of kLanes: zeros at the end change nothing
  std::vector<int64_t> order_;        // columns, the one with most energy first
  std::vector<float> inputs_, best_;  // x_c and m_c of each in that order, [cols, rows_]
};

}  // namespace intaglio
