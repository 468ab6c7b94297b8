// The dynamic shared memory that kernels declare as `extern __shared__ smem[]`. One array for all
// tests of a program, hence weak.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intaglio::cuda {

inline constexpr size_t kEmulatedSharedBytes = 232448;  // of a block on sm_90, the most there is
__attribute__((weak, aligned(1024))) int8_t smem[kEmulatedSharedBytes];

}  // namespace intaglio::cuda
