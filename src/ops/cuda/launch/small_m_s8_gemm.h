// Launcher of kernels/small_m_s8_gemm.cuh: sm_80 and up, few rows. Allocates nothing, waits for
// nothing, may be captured into a graph.
#pragma once

#include <span>

#include "ops/cuda/launch/s8_gemm_config.h"

namespace intaglio::cuda {

// By rows: 8, 16, 32, 64. More rows than tile_m read the weights once for each tile_m of them.
std::span<const S8GemmConfig> small_m_s8_gemm_configs();

const char* small_m_s8_gemm_refusal(const S8GemmParams& p, int config);

// SwiGLU always goes through the workspace, for a block has no gate and up columns together.
size_t small_m_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k);

// Any split gives the same bits. `workspace` is 16-byte aligned.
cudaError_t small_m_s8_gemm(const S8GemmParams& p, int config, int split_k, void* workspace,
                            cudaStream_t stream);

}  // namespace intaglio::cuda
