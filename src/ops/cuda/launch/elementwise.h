// Launch of the small passes over floats: check, choose, launch. No allocation, no synchronisation;
// can be captured in a graph. A refusal is nullptr, or the reason as a string literal; it reads no
// device memory. A pass that is refused returns cudaErrorInvalidValue and launches nothing.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/elementwise_params.h"

namespace intaglio::cuda {

// out[i] = in[i], F32 to BF16 (to nearest even, NaN stays NaN), BF16 or F16 to F32.
const char* convert_elements_refusal(const void* in, DType in_type, const void* out, DType out_type,
                                     int64_t count);
cudaError_t convert_elements(const void* in, DType in_type, void* out, DType out_type,
                             int64_t count, cudaStream_t stream);

// h[i] += y[i]; y F32 or BF16
const char* add_in_place_refusal(const float* h, const void* y, DType y_type, int64_t count);
cudaError_t add_in_place(float* h, const void* y, DType y_type, int64_t count, cudaStream_t stream);

const char* activate_rows_refusal(const ActivateRowsParams& params);
cudaError_t activate_rows(const ActivateRowsParams& params, cudaStream_t stream);

const char* epilogue_rows_refusal(const EpilogueRowsParams& params);
cudaError_t epilogue_rows(const EpilogueRowsParams& params, cudaStream_t stream);

const char* add_bias_rows_refusal(const AddBiasRowsParams& params);
cudaError_t add_bias_rows(const AddBiasRowsParams& params, cudaStream_t stream);

const char* gate_rows_refusal(const GateRowsParams& params);
cudaError_t gate_rows(const GateRowsParams& params, cudaStream_t stream);

const char* scatter_tap_refusal(const ScatterTapParams& params);
cudaError_t scatter_tap(const ScatterTapParams& params, cudaStream_t stream);

const char* softmax_rows_refusal(const SoftmaxRowsParams& params);
cudaError_t softmax_rows(const SoftmaxRowsParams& params, cudaStream_t stream);

const char* place_picture_refusal(const PlacePictureParams& params);
cudaError_t place_picture(const PlacePictureParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
