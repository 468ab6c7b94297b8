// Operands of one shape on the device: normal values in bf16 and the same in int8, and how far a
// result is from their product.
#pragma once

#include <cstdint>

#include "bench/bench_linear_case.h"
#include "core/cuda/device_buffer.h"
#include "ops/cuda/baseline/operands.h"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cli {

// Rows are padded with zeros to multiples of 16 values.
int64_t padded_row(int64_t k);

// Bytes of everything that the candidates of one shape hold.
struct LinearSizes {
  int64_t x, w, a, b, fp8_x, fp8_w, nf4, nf4_absmax, q8_0, dequantized, sums, out;
  int64_t row_scales, column_scales;

  explicit LinearSizes(const LinearShape& shape);
  int64_t total() const;
};

// Device memory of `bytes`, poisoned: NaN in bf16 and float, -1 in int32.
Status take_poisoned(cuda::DeviceBuffer& buffer, int64_t bytes);
Status poison(const cuda::DeviceBuffer& buffer);

class LinearOperands {
 public:
  Status make(const LinearShape& shape);

  // x -> a and its scales, as our linear does before its product.
  Status quantize_x() const;

  // The same turned in groups of kTurnedGroup columns (ConvRot), the weights once and for all by
  // `turn_weights`, into `turned`.
  static constexpr int32_t kTurnedGroup = 256;
  Status turn_weights();
  Status quantize_turned_x() const;

  // Outputs of a product in `out` that differ from the reference, all of them compared.
  Expected<unsigned long long> count_wrong() const;

  // ||out - x w^T|| / ||x w^T|| over some rows; NaN if any output there is. With our bias, or
  // without.
  Expected<double> sampled_error(bool with_bias) const;

  cuda::Matrix x_rows, w_rows;  // bf16
  float w_sigma = 0;            // deviation of w; that of x is 1
  cuda::S8GemmParams p{};       // the int8 product: scales, bias, bf16 into `out`
  cuda::S8GemmParams turned{};  // the same of turned rows
  cuda::DeviceBuffer x, w, a, b, a_scale, b_scale, bias, out;

 private:
  cuda::DeviceBuffer turned_a_, turned_a_scale_, turned_b_, turned_b_scale_;
  cuda::DeviceBuffer verdict_, error_sums_;
};

}  // namespace intaglio::cli
