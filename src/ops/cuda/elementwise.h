// ops/elementwise.h and ops/euler_step.h on a GPU.
#pragma once

#include "ops/elementwise.h"
#include "ops/euler_step.h"

namespace intaglio::cuda::op {

Status convert_elements(const Context& context, const void* source, DType source_dtype,
                        void* target, DType target_dtype, int64_t count);
Status silu_in_place(const Context& context, float* x, int64_t count);
Status tanh_gates(const Context& context, float* modulation, int64_t rows, int64_t width);
Status add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count);
Status scatter_tap(const Context& context, const float* h, const ScatterTap& shape,
                   float* features);
Refusal euler_step_refusal(const EulerStep& step, const Context& context);
Status euler_step(const Context& context, const EulerStep& step);
Refusal limit_velocity_norm_refusal(const LimitVelocityNorm& limit, const Context& context);
Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit);
Status softmax_rows(const Context& context, const SoftmaxRows& shape, float* scores, void* out);
Status place_tile(const Context& context, const PlaceTile& shape, const float* tile,
                  float* picture);

}  // namespace intaglio::cuda::op
