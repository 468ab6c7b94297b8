// Launch of the row norms and residuals: check, choose, launch. No allocation, no synchronisation;
// can be captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/norm_rows_params.h"

namespace intaglio::cuda {

// nullptr if the kernels take these arguments, else the reason, a string literal. Reads no device
// memory.
const char* norm_rows_refusal(const NormRowsParams& params);
const char* residual_rows_refusal(const ResidualRowsParams& params);

// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. rows = 0 launches
// nothing and succeeds.
cudaError_t norm_rows(const NormRowsParams& params, cudaStream_t stream);
cudaError_t residual_rows(const ResidualRowsParams& params, cudaStream_t stream);

namespace detail {
// Of arguments that are not refused: next.group != 0, update kNone, or kGated by a y of bf16.
cudaError_t launch_turned_norm_rows(const ResidualRowsParams& params, cudaStream_t stream);
}  // namespace detail

}  // namespace intaglio::cuda
