// Of the rows that the side branch of a linear reads.
#pragma once

#include "models/parts/selection.h"
#include "ops/linear.h"

namespace intaglio {

inline DType side_dtype(const LinearWeights& weights, const LayerSelection& selection) {
  const DType input = weights.input_dtype();
  return has_row_scales(input) ? selection.activation_dtype() : input;
}

}  // namespace intaglio
