// Launch of the CUDA row quantizers: check, choose, launch. No allocation, no synchronisation; can
// be captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/launch/quantize_rows_shape.h"
#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

// nullptr if the quantizers take these arguments, else the reason, a string literal. Reads no
// device memory.
const char* quantize_rows_refusal(const QuantizeRowsParams& params);

// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. rows = 0 launches
// nothing and succeeds.
cudaError_t quantize_rows(const QuantizeRowsParams& params, cudaStream_t stream);

namespace detail {

// 16-byte loads of every row are possible; otherwise the streamed kernels read element by element.
bool rows_are_vectors(const QuantizeRowsParams& params);
// The shape quantize_rows chooses; for these arguments, which are not refused.
RowShape shape_of(const QuantizeRowsParams& params);
// As quantize_rows, with a shape of the caller's: benchmarks compare them. The shape covers the row
// and has chunks the kernels know (2, 4, 8; rotation 1, 2, 3; 0 streams).
cudaError_t quantize_rows_shaped(const QuantizeRowsParams& params, const RowShape& shape,
                                 cudaStream_t stream);
cudaError_t launch_rotate_quantize_rows(const QuantizeRowsParams& params, const RowShape& shape,
                                        cudaStream_t stream);

}  // namespace detail
}  // namespace intaglio::cuda
