// Launch of the quantizer of rows to e4m3. No allocation, no synchronisation; can be captured in a
// graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/e4m3_rows_params.h"

namespace intaglio::cuda {

// nullptr if the kernels take these arguments, else the reason, a string literal. Reads no device
// memory.
const char* e4m3_rows_refusal(const E4m3RowsParams& params);

// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. rows = 0 launches
// nothing and succeeds.
cudaError_t e4m3_rows(const E4m3RowsParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
