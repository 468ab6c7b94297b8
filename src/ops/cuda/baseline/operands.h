// Operands of the linear benchmark, made on the device, and the measure of how far a result is from
// them. For benchmarks: plain, not fast.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace intaglio::cuda {

// Rows of bf16 or another type on the device: [rows, cols], row stride ld elements; columns cols to
// ld are zero.
struct Matrix {
  void* data = nullptr;
  int64_t rows = 0, cols = 0, ld = 0;
};

// Normal values of deviation `sigma` in bf16. The same seed gives the same numbers.
cudaError_t fill_normal_bf16(const Matrix& to, float sigma, uint32_t seed, cudaStream_t stream);

// bf16 -> e4m3, saturating. absmax <= 0: scale[row] = largest magnitude of the row / 448; else
// scale[0] = absmax / 448 for all.
cudaError_t quantize_e4m3(const Matrix& from, const Matrix& to, float absmax, float* scale,
                          cudaStream_t stream);

// bf16 -> weight_formats.h. cols % 32 == 0.
cudaError_t quantize_q8_0(const Matrix& from, uint8_t* blocks, cudaStream_t stream);

// Compares bf16 outputs [m, n], dense, with x [m, k] times w [n, k]^T + bias (or null) in float, on
// `samples` rows spread over m. sums[0] += |difference|^2, sums[1] += |product|^2. A NaN in the
// output makes sums[0] NaN.
struct SampledError {
  Matrix x, w;  // bf16, ld a multiple of 8
  const float* bias = nullptr;
  const void* out = nullptr;
  double* sums = nullptr;
  int samples = 8;
};
cudaError_t add_sampled_error(const SampledError& error, cudaStream_t stream);

}  // namespace intaglio::cuda
