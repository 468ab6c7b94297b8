// The products of cuBLASLt that INT8 is measured against. Row-major [m, k] x [n, k]^T -> [m, n], the library's first suggestion.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

namespace intaglio::bench {

enum class LtKind {
  kBF16,          // bf16 x bf16 -> bf16
  kS8,            // int8 x int8 -> int32, no scales
  kFP8Rowwise,    // e4m3, a scale a row of A and a row of W -> bf16
  kFP8Tensorwise  // e4m3, one scale each, fast accumulation -> bf16
};

class LtProduct {
 public:
  // Scales are device arrays: [m], [n] (rowwise) or [1], [1] (tensorwise), else null. `error` says why if nothing is returned.
  static std::unique_ptr<LtProduct> make(LtKind kind, int m, int n, int k, const float* a_scale,
                                         const float* w_scale, std::string& error);
  virtual ~LtProduct() = default;
  virtual cudaError_t run(const void* a, const void* w, void* out, cudaStream_t stream) = 0;
};

}  // namespace intaglio::bench
