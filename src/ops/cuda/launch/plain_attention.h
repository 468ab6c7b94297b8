// Launcher of kernels/plain_attention.cuh: sm_75 and up, head sizes up to 1024. Allocates nothing,
// waits for nothing, may be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/attention_params.h"

namespace intaglio::cuda {

// Of q, k, v and out.
enum class AttentionType : int32_t { kF32, kBF16 };

// nullptr, or why it cannot run these parameters. Any head size up to 1024, any strides and
// alignment; faster where all of them are multiples of four elements.
const char* plain_attention_refusal(const AttentionParams& p, AttentionType type);

// cudaErrorInvalidValue where the refusal has a reason.
cudaError_t plain_attention(const AttentionParams& p, AttentionType type, cudaStream_t stream);

}  // namespace intaglio::cuda
