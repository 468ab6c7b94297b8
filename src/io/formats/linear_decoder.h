// The numbers of a linear whose stored form no product takes: made row by row when they are asked
// for, so that no more of a file lies in memory than is being worked on. Decoders are thread-safe
// and check what their numbers depend on when they are made; the file they read from outlives them.
#pragma once

#include <cstdint>

#include "core/status.h"

namespace intaglio {

class LinearDecoder {
 public:
  virtual ~LinearDecoder() = default;
  // Rows [begin, end) of W [n, k], which lie within, as floats [end - begin, k]. kIo; an Inf or a
  // NaN is for the caller to find.
  virtual Status rows(int64_t begin, int64_t end, float* out) const = 0;
};

// The same for forms that are int8 rows in another guise: packed, transposed, coded. Exact.
class Int8Decoder {
 public:
  virtual ~Int8Decoder() = default;
  virtual Status rows(int64_t begin, int64_t end, int8_t* out) const = 0;
};

}  // namespace intaglio
