// Launchers of the convolutions (ops/cuda/conv2d_params.h). They allocate nothing, wait for
// nothing, may be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "ops/cuda/conv2d_params.h"
#include "ops/cuda/launch/conv2d_choice.h"

namespace intaglio::cuda {

// kernels/sm80_conv2d.cuh: bf16 on tensor cores, sm_80 and up. nullptr, or why it cannot run these
// parameters on the current device.
const char* sm80_conv2d_refusal(const Conv2dParams& p);
// cudaErrorInvalidValue where sm80_conv2d_refusal has a reason.
cudaError_t sm80_conv2d(const Conv2dParams& p, cudaStream_t stream);

// The compiled variants, and one of them by its index: for benchmarks.
std::span<const Conv2dConfig> sm80_conv2d_configs();
const char* sm80_conv2d_config_refusal(const Conv2dParams& p, int config);
cudaError_t sm80_conv2d_config(const Conv2dParams& p, int config, cudaStream_t stream);
// What choose_conv2d_config takes for these parameters on the current device; -1: none.
int sm80_conv2d_choice(const Conv2dParams& p);

// kernels/plain_conv2d.cuh: float and bf16 on CUDA cores, every device.
const char* plain_conv2d_refusal(const Conv2dParams& p);
cudaError_t plain_conv2d(const Conv2dParams& p, cudaStream_t stream);

}  // namespace intaglio::cuda
