#include <initializer_list>
#include <type_traits>

#include "ops/cuda/kernels/euler_step.cuh"
#include "ops/cuda/launch/euler_step.h"

namespace intaglio::cuda {
namespace {

bool all_aligned(std::initializer_list<const void*> pointers, uintptr_t bytes) {
  for (const void* pointer : pointers)
    if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0) return false;
  return true;
}

bool velocities_aligned(const PassesParams& p, uintptr_t bytes) {
  for (int pass = 0; pass < p.passes; ++pass)
    if (!all_aligned({p.velocity[pass]}, bytes)) return false;
  return true;
}

const char* refuse_passes(const PassesParams& p) {
  if (p.passes < 1 || p.passes > kMaxPasses) return "passes must be 1 to 4";
  if (p.count < 0 || p.count > int64_t{0x7fffffff} * kElementsOfBlock)
    return "count must be 0 to 2^43";
  for (int pass = 0; pass < p.passes; ++pass)
    if (p.count > 0 && p.velocity[pass] == nullptr) return "every velocity must be given";
  return velocities_aligned(p, 4) ? nullptr : "a velocity is not aligned to its type";
}

// launch(number of passes), known to the compiler.
template <class Launch>
void with_passes(const PassesParams& p, Launch&& launch) {
  static_assert(kMaxPasses == 4);
  if (p.passes == 1) launch(std::integral_constant<int, 1>{});
  if (p.passes == 2) launch(std::integral_constant<int, 2>{});
  if (p.passes == 3) launch(std::integral_constant<int, 3>{});
  if (p.passes == 4) launch(std::integral_constant<int, 4>{});
}

}  // namespace

const char* euler_step_refusal(const EulerStepParams& p) {
  if (const char* reason = refuse_passes(p.v)) return reason;
  if (p.v.count > 0 && p.x == nullptr) return "x must be given";
  if (p.factor_cols < 0) return "factor_cols must be 0 or more";
  return all_aligned({p.x, p.factor, p.not_finite}, 4) ? nullptr
                                                       : "a pointer is not aligned to its type";
}

cudaError_t euler_step(const EulerStepParams& p, cudaStream_t stream) {
  if (euler_step_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.v.count == 0) return cudaSuccess;
  with_passes(p.v, [&](auto passes) {
    const auto blocks =
        static_cast<unsigned>((p.v.count + kElementsOfBlock - 1) / kElementsOfBlock);
    if (velocities_aligned(p.v, 16) && all_aligned({p.x}, 16)) {
      euler_step_kernel<passes(), true><<<blocks, kElementThreads, 0, stream>>>(p);
    } else {
      euler_step_kernel<passes(), false><<<blocks, kElementThreads, 0, stream>>>(p);
    }
  });
  return cudaPeekAtLastError();
}

const char* limit_velocity_norm_refusal(const LimitVelocityNormParams& p) {
  if (const char* reason = refuse_passes(p.v)) return reason;
  if (p.reference < 0 || p.reference >= p.v.passes) return "reference must be one of the passes";
  if (p.factor == nullptr) return "factor must be given";
  return all_aligned({p.factor}, 4) ? nullptr : "a pointer is not aligned to its type";
}

cudaError_t limit_velocity_norm(const LimitVelocityNormParams& p, cudaStream_t stream) {
  if (limit_velocity_norm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  with_passes(p.v, [&](auto passes) {
    if (p.v.count % kRowPiece == 0 && velocities_aligned(p.v, 16)) {
      limit_velocity_norm_kernel<passes(), true><<<1, kLimitThreads, 0, stream>>>(p);
    } else {
      limit_velocity_norm_kernel<passes(), false><<<1, kLimitThreads, 0, stream>>>(p);
    }
  });
  return cudaPeekAtLastError();
}

const char* match_row_norms_refusal(const MatchRowNormsParams& p) {
  if (const char* reason = refuse_passes(p.v)) return reason;
  if (p.cols < 1 || p.rows < 0 || p.rows > int64_t{0x7fffffff} * kMatchRows)
    return "there must be 1 column or more, and 0 to 2^34 rows";
  if (p.v.count != p.rows * p.cols) return "count must be that of the rows";
  if (p.reference < 0 || p.reference >= p.v.passes) return "reference must be one of the passes";
  if (p.rows > 0 && p.factor == nullptr) return "factor must be given";
  return all_aligned({p.factor}, 4) ? nullptr : "a pointer is not aligned to its type";
}

cudaError_t match_row_norms(const MatchRowNormsParams& p, cudaStream_t stream) {
  if (match_row_norms_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((p.rows + kMatchRows - 1) / kMatchRows);
  with_passes(p.v, [&](auto passes) {
    match_row_norms_kernel<passes()><<<blocks, kMatchThreads, 0, stream>>>(p);
  });
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
