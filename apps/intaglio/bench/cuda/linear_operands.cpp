#include "linear_operands.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>

#include "core/cuda/device.h"
#include "ops/cuda/launch/int8_linear.h"
#include "ops/cuda/launch/s8_gemm_reference.h"
#include "ops/cuda/weight_formats.h"

namespace intaglio::cli {
namespace {

using cuda::device_status;
using cuda::DeviceBuffer;

constexpr int64_t kRowValues = 16;
constexpr int kPoison = 0xff;
constexpr int64_t kSampledRows = 8;

Status quantize_rows(const cuda::Matrix& from, const DeviceBuffer& to, const DeviceBuffer& scale,
                     int32_t rotation_group = 0) {
  return cuda::int8_quantize_rows({.x = from.data,
                                   .x_type = DType::kBF16,
                                   .ldx = from.ld,
                                   .q = to.as<int8_t>(),
                                   .ldq = from.ld,
                                   .scale = scale.as<float>(),
                                   .rows = static_cast<int32_t>(from.rows),
                                   .cols = static_cast<int32_t>(from.cols),
                                   .rotation_group = rotation_group},
                                  nullptr);
}

}  // namespace

int64_t padded_row(int64_t k) { return (k + kRowValues - 1) / kRowValues * kRowValues; }

LinearSizes::LinearSizes(const LinearShape& s) {
  const int64_t k = padded_row(s.k), count = s.n * s.k;
  x = 2 * s.m * k;
  w = dequantized = 2 * s.n * k;
  a = fp8_x = s.m * k;
  b = fp8_w = s.n * k;
  nf4 = cuda::nf4_code_bytes(count);
  nf4_absmax = 4 * cuda::nf4_blocks(count);
  q8_0 = cuda::q8_0_bytes(count);
  sums = 4 * s.m * s.n;
  out = 2 * s.m * s.n;
  row_scales = 4 * s.m;
  column_scales = 4 * s.n;
}

int64_t LinearSizes::total() const {
  // fp8 twice: with a scale a row, and with one for all.
  // int8 twice too: plain and turned.
  return x + w + 2 * (a + b) + 2 * (fp8_x + fp8_w) + nf4 + nf4_absmax + q8_0 + dequantized + sums +
         out + 4 * row_scales + 5 * column_scales;
}

Status take_poisoned(DeviceBuffer& buffer, int64_t bytes) {
  INTAGLIO_ASSIGN(buffer, DeviceBuffer::allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1))));
  return poison(buffer);
}

Status poison(const DeviceBuffer& buffer) {
  return device_status(cudaMemset(buffer.as<void>(), kPoison, buffer.size()), "cudaMemset");
}

Status LinearOperands::make(const LinearShape& shape) {
  const int64_t m = shape.m, n = shape.n, k = shape.k, ld = padded_row(shape.k);
  const LinearSizes size(shape);
  INTAGLIO_TRY(take_poisoned(x, size.x));
  INTAGLIO_TRY(take_poisoned(w, size.w));
  INTAGLIO_TRY(take_poisoned(a, size.a));
  INTAGLIO_TRY(take_poisoned(b, size.b));
  INTAGLIO_TRY(take_poisoned(a_scale, size.row_scales));
  INTAGLIO_TRY(take_poisoned(b_scale, size.column_scales));
  INTAGLIO_TRY(take_poisoned(bias, size.column_scales));
  INTAGLIO_TRY(take_poisoned(out, size.out));
  INTAGLIO_TRY(take_poisoned(verdict_, sizeof(cuda::S8GemmVerdict)));
  INTAGLIO_TRY(take_poisoned(error_sums_, 2 * sizeof(double)));
  x_rows = {x.as<void>(), m, k, ld};
  w_rows = {w.as<void>(), n, k, ld};
  w_sigma = 1.0f / std::sqrt(static_cast<float>(k));
  INTAGLIO_TRY(device_status(fill_normal_bf16(x_rows, 1.0f, 1, nullptr), "fill_normal_bf16"));
  INTAGLIO_TRY(device_status(fill_normal_bf16(w_rows, w_sigma, 2, nullptr), "fill_normal_bf16"));
  INTAGLIO_TRY(
      device_status(cuda::fill_f32(bias.as<float>(), n, 3, -1.0f, 1.0f, nullptr), "fill_f32"));
  INTAGLIO_TRY(quantize_x());
  INTAGLIO_TRY(quantize_rows(w_rows, b, b_scale));
  p = {.a = a.as<int8_t>(),
       .w = b.as<int8_t>(),
       .a_scale_row = a_scale.as<float>(),
       .w_scale_col = b_scale.as<float>(),
       .bias = bias.as<float>(),
       .out = out.as<void>(),
       .lda = ld,
       .ldw = ld,
       .ldo = n,
       .m = static_cast<int32_t>(m),
       .n = static_cast<int32_t>(n),
       .k = static_cast<int32_t>(k),
       .out_type = DType::kBF16,
       .epilogue = GemmEpilogue::kNone};
  return device_status(cudaDeviceSynchronize(), "operands");
}

Status LinearOperands::quantize_x() const { return quantize_rows(x_rows, a, a_scale); }

Status LinearOperands::turn_weights() {
  INTAGLIO_TRY(take_poisoned(turned_a_, static_cast<int64_t>(a.size())));
  INTAGLIO_TRY(take_poisoned(turned_a_scale_, static_cast<int64_t>(a_scale.size())));
  INTAGLIO_TRY(take_poisoned(turned_b_, static_cast<int64_t>(b.size())));
  INTAGLIO_TRY(take_poisoned(turned_b_scale_, static_cast<int64_t>(b_scale.size())));
  INTAGLIO_TRY(quantize_rows(w_rows, turned_b_, turned_b_scale_, kTurnedGroup));
  turned = p;
  turned.a = turned_a_.as<int8_t>();
  turned.a_scale_row = turned_a_scale_.as<float>();
  turned.w = turned_b_.as<int8_t>();
  turned.w_scale_col = turned_b_scale_.as<float>();
  return quantize_turned_x();
}

Status LinearOperands::quantize_turned_x() const {
  return quantize_rows(x_rows, turned_a_, turned_a_scale_, kTurnedGroup);
}

Expected<unsigned long long> LinearOperands::count_wrong() const {
  INTAGLIO_TRY(device_status(cudaMemset(verdict_.as<void>(), 0, verdict_.size()), "cudaMemset"));
  INTAGLIO_TRY(device_status(cuda::judge_s8_gemm(p, verdict_.as<cuda::S8GemmVerdict>(), nullptr),
                             "reference"));
  cuda::S8GemmVerdict verdict{};
  INTAGLIO_TRY(device_status(
      cudaMemcpy(&verdict, verdict_.as<void>(), sizeof verdict, cudaMemcpyDeviceToHost),
      "reference"));
  return verdict.wrong;
}

Expected<double> LinearOperands::sampled_error(bool with_bias) const {
  INTAGLIO_TRY(
      device_status(cudaMemset(error_sums_.as<void>(), 0, error_sums_.size()), "cudaMemset"));
  const cuda::SampledError error{.x = x_rows,
                                 .w = w_rows,
                                 .bias = with_bias ? bias.as<float>() : nullptr,
                                 .out = out.as<void>(),
                                 .sums = error_sums_.as<double>(),
                                 .samples = static_cast<int>(std::min(x_rows.rows, kSampledRows))};
  INTAGLIO_TRY(device_status(add_sampled_error(error, nullptr), "add_sampled_error"));
  double sums[2] = {};
  INTAGLIO_TRY(
      device_status(cudaMemcpy(sums, error_sums_.as<void>(), sizeof sums, cudaMemcpyDeviceToHost),
                    "sampled error"));
  return std::sqrt(sums[0] / sums[1]);
}

}  // namespace intaglio::cli
