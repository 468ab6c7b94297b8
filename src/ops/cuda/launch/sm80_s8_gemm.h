// Launcher of kernels/sm80_s8_gemm.cuh: sm_80 and up. Allocates nothing, waits for nothing, may be
// captured into a graph.
#pragma once

#include <span>

#include "ops/cuda/launch/s8_gemm_config.h"

namespace intaglio::cuda {

// In no order of merit; those with smem_bytes <= 99 KB run on every card from sm_80, the others on
// sm_80 and sm_90. The last one takes unaligned rows.
std::span<const S8GemmConfig> sm80_s8_gemm_configs();

// nullptr, or why this config cannot run these parameters on the current device.
const char* sm80_s8_gemm_refusal(const S8GemmParams& p, int config);

// Device memory that the product with this config and split needs; 0 for split_k <= 1.
size_t sm80_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k);

struct Sm80Launch {
  int config = 0;
  int split_k = 1;         // k is cut in at most so many parts; any value gives the same bits
  int group_n = 0;         // tile columns in a raster group; 0: chosen
  bool persistent = true;  // one wave of blocks that walk all tiles; false: one block a tile
};

// cudaErrorInvalidValue where sm80_s8_gemm_refusal has a reason. `workspace` is 16-byte aligned.
cudaError_t sm80_s8_gemm(const S8GemmParams& p, const Sm80Launch& launch, void* workspace,
                         cudaStream_t stream);

inline cudaError_t sm80_s8_gemm(const S8GemmParams& p, int config, int split_k, void* workspace,
                                cudaStream_t stream) {
  return sm80_s8_gemm(p, {.config = config, .split_k = split_k}, workspace, stream);
}

}  // namespace intaglio::cuda
