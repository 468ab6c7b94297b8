// Weights to NF4 (ops/cuda/weight_formats.h) on the device, when a linear is prepared: plain, not
// fast. It allocates nothing and does not wait.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace intaglio::cuda {

// w: `count` values of bf16 as one run. codes: [nf4_code_bytes(count)], absmax:
// [nf4_blocks(count)].
cudaError_t quantize_nf4(const void* w, int64_t count, uint8_t* codes, float* absmax,
                         cudaStream_t stream);

}  // namespace intaglio::cuda
