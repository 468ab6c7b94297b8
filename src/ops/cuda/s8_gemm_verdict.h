// What the judge of int8 products found. Host and device.
#pragma once

namespace intaglio::cuda {

struct S8GemmVerdict {
  unsigned long long wrong;  // outputs
  unsigned long long first;  // index in `out` of one of them, got and want there
  double got, want;
};

}  // namespace intaglio::cuda
