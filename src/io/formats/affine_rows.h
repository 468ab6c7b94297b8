// Integers with a scale, and perhaps a zero point, of each block.
#pragma once

#include "io/formats/layer.h"

namespace intaglio {

// W[r, c] = (q[r, c] - zero) * scale, or q * scale + zero, of the block
// (r / (n / rows), c / (k / groups)), `scales` being floats of rows * groups elements.
struct AffineBlocks {
  const TensorEntry* values = nullptr;  // I8 or U8 of n * k elements
  int64_t n = 0, k = 0;
  const TensorEntry* scales = nullptr;
  int64_t rows = 0, groups = 0;          // of the scales; they divide n and k
  const TensorEntry* zeros = nullptr;    // as many as scales, integers of I8 or floats; or none
  bool zero_is_added = false;            // after the scale
  const TensorEntry* columns = nullptr;  // floats [k] that W's columns are multiplied by, or none
};

std::shared_ptr<const LinearDecoder> make_affine_rows(const AffineBlocks& blocks);

// Whether no zero point of the tensor, I8, is other than 0. `zeros` may be nullptr.
Expected<bool> are_zero(const TensorEntry* zeros);

// Int8 rows with a scale each, or one for all of them: taken as they are.
LinearEntry int8_rows_linear(const Layer& layer, const TensorEntry& values,
                             const TensorEntry& scales);

}  // namespace intaglio
