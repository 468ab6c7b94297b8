// SmoothQuant (Xiao et al. 2022, equation 4): a linear reads x / s instead of x, and W diag(s)
// instead of W, so that outliers of a few columns of x share their range with the weights.
//
// Nothing divides at run time: s is folded into what multiplies the columns of x already
// (LinearModule::input_scale), so every reader of the format runs the result:
//
//   a norm's weight g        g' = g / s, rounded to the type it is stored in, and then s = g / g'
//   the rows of a linear     W' = diag(1 / s) W: int8 rows keep their codes, their scales are
//                            divided; rows of floats only take powers of two
//
// so that the function stays the same but for one rounding of F32 a number.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "io/checkpoint.h"

namespace intaglio {

// Of each column: max|X|^alpha / max|W|^(1 - alpha), over their geometric mean. 1 where either is
// 0. Both are [k], finite and >= 0; 0 <= alpha <= 1.
std::vector<float> smoothing(std::span<const float> x_absmax, std::span<const float> w_absmax,
                             double alpha);

// What becomes of a checkpoint's tensors, under the model's own names.
struct FoldedSmoothing {
  using Values = std::map<std::string, std::vector<float>, std::less<>>;
  Values columns;  // of a linear [k]: its columns are multiplied by these
  Values rows;     // of a linear [n]: its rows are divided by these
  Values vectors;  // instead of a tensor's numbers; each is one of the type that it is stored in

  bool empty() const { return columns.empty(); }
  // Equal texts: equal numbers.
  std::string digest() const;
};

// `smooth` [k] of linears `names`, folded into the vector `stored` [k] (F32, F16 or BF16), which is
// `vector`'s.
void fold_into_vector(std::span<const std::string> names, std::span<const float> smooth,
                      const std::string& vector, const TensorView& stored, FoldedSmoothing& folded);
// The same, into the rows of `linear`. `float_rows`: they stay floats.
void fold_into_rows(std::span<const std::string> names, std::span<const float> smooth,
                    const std::string& linear, bool float_rows, FoldedSmoothing& folded);

// In a file's header: its linears were smoothed, so that adapters made for the model itself, whose
// numbers are of inputs as they were, do not fit.
inline constexpr std::string_view kSmoothedKey = "intaglio_smoothed";
bool is_smoothed(const Checkpoint& checkpoint);

}  // namespace intaglio
