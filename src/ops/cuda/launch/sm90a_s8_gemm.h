// Launches of the Hopper int8 GEMM. Host side only.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

struct Sm90aS8GemmConfig {
  const char* name;  // "128x256x128"
  int tile_m, tile_n, tile_k, stages, smem_bytes;
};

std::span<const Sm90aS8GemmConfig> sm90a_s8_gemm_configs();

// nullptr if the kernel can serve `p` (sizes, strides, alignment), else why not.
const char* refuse_sm90a_s8_gemm(const S8GemmParams& p);

struct Sm90aS8GemmSchedule {
  int band;         // rows of clusters a band of the raster has (tile/raster.h), >= 1
  int blocks;       // that run at once: an even number, at most the multiprocessors
  int split_k = 1;  // k is cut in at most so many parts; any value gives the same bits
};

// Device memory that the product with this split needs; 0 for split_k <= 1.
size_t sm90a_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k);

// No allocation, no synchronisation, capturable. cudaErrorInvalidValue if refused. `workspace` is
// 16-byte aligned.
cudaError_t sm90a_s8_gemm(const S8GemmParams& p, int config, const Sm90aS8GemmSchedule& schedule,
                          void* workspace, cudaStream_t stream);

}  // namespace intaglio::cuda
