// oneDNN's own matrix products, the bar for ours. Empty results in a build without oneDNN.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "core/dtype.h"
#include "core/status.h"

namespace intaglio::cli {

// dst[m, n] = a[m, k] w[n, k]^T with the weights in the layout oneDNN likes best (reordered once,
// not timed). kUnsupported where oneDNN has only a reference kernel. kI8: int8 x int8 -> int32;
// kBF16: bf16 x bf16 -> bf16, float sums. The pointers must outlive the function returned.
Expected<std::function<Status()>> onednn_matmul(DType dtype, int64_t m, int64_t n, int64_t k,
                                                const void* a, const void* w, void* out,
                                                int threads);

bool has_onednn();

// Whether an implementation name of oneDNN is one of its scalar references ("ref:any", "gemm:ref",
// "ref_int8:any", "simple:any"): hundreds of times slower than its kernels, so nothing to compare
// with.
inline bool is_reference_kernel(std::string_view name) {
  return name.starts_with("ref") || name.starts_with("simple") || name.ends_with(":ref");
}

}  // namespace intaglio::cli
