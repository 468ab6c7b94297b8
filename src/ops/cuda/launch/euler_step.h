// Launch of the sampling step: check, choose, launch. No allocation, no synchronisation; can be
// captured in a graph, which then keeps weights and delta. A refusal is nullptr, or the reason as a
// string literal; it reads no device memory. A step that is refused returns cudaErrorInvalidValue
// and launches nothing.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/euler_step_params.h"

namespace intaglio::cuda {

const char* euler_step_refusal(const EulerStepParams& params);
cudaError_t euler_step(const EulerStepParams& params, cudaStream_t stream);

const char* limit_velocity_norm_refusal(const LimitVelocityNormParams& params);
cudaError_t limit_velocity_norm(const LimitVelocityNormParams& params, cudaStream_t stream);

const char* match_row_norms_refusal(const MatchRowNormsParams& params);
cudaError_t match_row_norms(const MatchRowNormsParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
