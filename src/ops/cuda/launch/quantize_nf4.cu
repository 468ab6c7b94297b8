#include <cuda_bf16.h>

#include "ops/cuda/launch/quantize_nf4.h"
#include "ops/cuda/weight_formats.h"

namespace intaglio::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 2048;

// A thread a block of values.
__global__ void quantize_nf4_kernel(const __nv_bfloat16* w, int64_t count, uint8_t* codes,
                                    float* absmax) {
  for (int64_t block = blockIdx.x * int64_t{kThreads} + threadIdx.x; block < nf4_blocks(count);
       block += int64_t{kBlocks} * kThreads) {
    const int64_t begin = block * kNf4Block, end = min(begin + kNf4Block, count);
    float largest = 0.0f;
    for (int64_t i = begin; i < end; ++i) largest = fmaxf(largest, fabsf(__bfloat162float(w[i])));
    absmax[block] = largest;
    const float inverse = largest > 0.0f ? 1.0f / largest : 0.0f;
    for (int64_t i = begin; i < end; i += 2) {
      const int high = nf4_nearest(__bfloat162float(w[i]) * inverse);
      const int low = i + 1 < end ? nf4_nearest(__bfloat162float(w[i + 1]) * inverse) : 0;
      codes[i / 2] = static_cast<uint8_t>(high << 4 | low);
    }
  }
}

}  // namespace

cudaError_t quantize_nf4(const void* w, int64_t count, uint8_t* codes, float* absmax,
                         cudaStream_t stream) {
  quantize_nf4_kernel<<<kBlocks, kThreads, 0, stream>>>(static_cast<const __nv_bfloat16*>(w), count,
                                                        codes, absmax);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
