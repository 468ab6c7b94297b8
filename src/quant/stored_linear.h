// What a checkpoint holds of one linear y = x W^T, W [n, k]: its numbers as they lie in the file,
// and what they mean. Whoever runs the linear takes them as they are, or asks for floats.
//
//   kFloat:     W[r, c] = values[r, c], of F8_E4M3 values times scale[r]
//   kInt8Rows:  W = (q[r, c] * scale[r]) H, then W[r, c] / smooth[c]
//
// H is the rotation (quant/rotation.h), its own inverse, so y = (x H) (q scale)^T: at run time the
// rows of x are rotated, not W. With `smooth`, y = (x / smooth) (q scale)^T.
// No format has both; at most one of the two is given.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/status.h"
#include "core/tensor.h"
#include "quant/rotation.h"

namespace intaglio {

enum class Encoding : uint8_t { kFloat, kInt8Rows };

// What is known of it before its numbers are read.
struct StoredForm {
  Encoding encoding = Encoding::kFloat;
  Rotation rotation = {};
  bool smooth = false;
  bool float_product = false;
  bool decoded = false;  // kFloat: of a form with fewer bits, which no product takes as it is
};

// Rows of a weight that lie in a file until they are asked for. Thread-safe.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // Rows [first, first + count) as they are stored, one after the other. kIo; kBadFormat where they
  // are not finite.
  virtual Status rows(int64_t first, int64_t count, std::byte* out) const = 0;
};

// A view: the memory belongs to whoever made it (io/formats: LoadedLinear). Bias, if there is one,
// is a tensor of its own.
struct StoredLinear {
  Encoding encoding = Encoding::kFloat;
  // [n, k] dense. kFloat: F32, F16, BF16, F8_E4M3, may be unaligned. kInt8Rows: I8, -128 included.
  TensorView values = {};
  // kInt8Rows: F32 [n], finite and >= 0; one of a whole tensor stands n times. Of F8_E4M3, too.
  TensorView scales = {};
  // F32 [k], finite and not 0, or null: what the columns of x are divided by. Of kInt8Rows.
  TensorView smooth = {};
  Rotation rotation = {};  // of kInt8Rows
  // The file asks for W to be turned into floats and multiplied so, x unquantized.
  bool float_product = false;
  bool decoded = false;  // as StoredForm's
  // Of values without data, which are the reader's rows from `first_row` on.
  const RowReader* reader = nullptr;
  int64_t first_row = 0;

  int64_t n() const { return values.shape[0]; }
  int64_t k() const { return values.shape[1]; }
  StoredForm form() const {
    return {encoding, rotation, smooth.data != nullptr, float_product, decoded};
  }
  // Output rows [first, first + count) of it, which lie within: a part of a fused weight. A view of
  // the same memory.
  StoredLinear rows(int64_t first, int64_t count) const;
  // The same with data, in `memory` where a reader has it.
  Expected<StoredLinear> read(int64_t first, int64_t count, AlignedBuffer& memory) const;
};

// Row `row` of W as floats: one rounding for q * scale, those of rotate_row, one for the division.
// `out`: k floats. Of values with data.
void dequantize_row(const StoredLinear& linear, int64_t row, float* out);

}  // namespace intaglio
