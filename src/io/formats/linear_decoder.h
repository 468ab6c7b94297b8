// The numbers of a linear whose stored form no product takes: made row by row when they are asked
// for, so that no more of a file lies in memory than is being worked on. Decoders are thread-safe
// and check what their numbers depend on when they are made; the file they read from outlives them.
#pragma once

#include <cstdint>

#include "core/status.h"

namespace intaglio {

// Milliseconds of work, and small enough for a cache.
inline constexpr int64_t kDecodedPiece = 256 << 10;

class LinearDecoder {
 public:
  virtual ~LinearDecoder() = default;
  // Rows [begin, end) of W [n, k], which lie within, as floats [end - begin, k]. kIo; an Inf or a
  // NaN is for the caller to find.
  virtual Status rows(int64_t begin, int64_t end, float* out) const = 0;
  // Elements of the rows that one thread should ask for at once.
  virtual int64_t piece_elements() const { return kDecodedPiece; }
};

// The same for forms that are int8 rows in another guise: packed, transposed, coded. Exact.
class Int8Decoder {
 public:
  virtual ~Int8Decoder() = default;
  virtual Status rows(int64_t begin, int64_t end, int8_t* out) const = 0;
  virtual int64_t piece_elements() const { return kDecodedPiece; }
};

}  // namespace intaglio
