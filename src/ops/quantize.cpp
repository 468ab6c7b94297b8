#include "ops/quantize.h"

#include <array>
#include <vector>

#include "core/parallel_tasks.h"
#include "ops/cpu/quantize_kernels.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

// Rows are handed out in pieces of about this many elements.
constexpr int64_t kPieceElements = 32 << 10;
// One thread quantizes 128 Ki elements in about 12 us; starting a second one does not pay below.
constexpr int64_t kSerialElements = 128 << 10;

using F32Row = float (*)(const float*, int64_t, int8_t*);
using BF16Row = float (*)(const uint16_t*, int64_t, int8_t*);

template <F32Row kF32Row, BF16Row kBF16Row>
Status run(const Context& context, const void* x, DType x_dtype, int64_t ldx, int64_t rows,
           int64_t cols, int8_t* q, float* scale) {
  const int64_t grain = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, cols));
  const int threads = rows * cols <= kSerialElements ? 1 : context.threads;
  INTAGLIO_TRY(parallel_tasks(context, threads, rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      scale[r] = x_dtype == DType::kF32
                     ? kF32Row(static_cast<const float*>(x) + r * ldx, cols, q + r * cols)
                     : kBF16Row(static_cast<const uint16_t*>(x) + r * ldx, cols, q + r * cols);
    }
  }));
  return {};
}

Refusal refuse_dtype(DType input) {
  return input == DType::kF32 || input == DType::kBF16 ? nullptr : "the input must be F32 or BF16";
}

#if defined(INTAGLIO_X86)
Refusal avx512_can_run(DType input, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "needs AVX-512";
  return refuse_dtype(input);
}
Refusal avx2_can_run(DType input, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "needs AVX2";
  return refuse_dtype(input);
}
#endif
Refusal ref_can_run(DType input, const Context&) { return refuse_dtype(input); }

Status to_e4m3([[maybe_unused]] const Context& context, [[maybe_unused]] const TensorView& x,
               [[maybe_unused]] const Activation& out) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) {
    return cuda::op::quantize_e4m3_rows(context, x,
                                        {.q = out.as<uint8_t>(), .scale = out.scale_row});
  }
#endif
  return make_error(ErrorCode::kUnsupported, "quantize_rows: e4m3 rows are made on a GPU");
}

}  // namespace

std::span<const QuantizeRowsImplementation> quantize_rows_implementations() {
  static constexpr std::array list {
#if defined(INTAGLIO_HAS_CUDA)
    QuantizeRowsImplementation{"cuda_quantize_rows", cuda::op::quantize_rows_refusal,
                               cuda::op::run_quantize_rows, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
        QuantizeRowsImplementation{"avx512_quantize_rows", avx512_can_run,
                                   run<avx512_quantize_row_f32, avx512_quantize_row_bf16>},
        QuantizeRowsImplementation{"avx2_quantize_rows", avx2_can_run,
                                   run<avx2_quantize_row_f32, avx2_quantize_row_bf16>},
#endif
        QuantizeRowsImplementation {
      "ref_quantize_rows", ref_can_run, run<ref_quantize_row_f32, ref_quantize_row_bf16>
    }
  };
  return list;
}

Status quantize_rows(const Context& context, TensorView x, Activation out) {
  if (x.shape.rank != 2 || x.shape[0] != out.rows || x.shape[1] != out.cols || out.cols < 1 ||
      out.rows < 0) {
    return make_error(ErrorCode::kShapeMismatch, "quantize_rows: x is {}, [{}, {}] expected",
                      to_string(x.shape), out.rows, out.cols);
  }
  if (!has_row_scales(out.dtype) || x.data == nullptr || out.data == nullptr ||
      out.scale_row == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_rows: the output is {}, I8 or F8_E4M3 with row scales expected, "
                      "and no null pointers",
                      dtype_name(out.dtype));
  }
  if (out.dtype == DType::kF8E4M3) return to_e4m3(context, x, out);
  INTAGLIO_ASSIGN(
      const QuantizeRowsImplementation* implementation,
      choose(OpName{"quantize_rows", "int8 quantization"}, quantize_rows_implementations(), x.dtype,
             context, [](DType dtype) { return std::string(dtype_name(dtype)); }));
  return implementation->run(context, x.data, x.dtype, out.cols, out.rows, out.cols,
                             out.as<int8_t>(), out.scale_row);
}

Status quantize_weight_rows(const Context& context, TensorView w, int8_t* q, float* scale) {
  if (w.shape.rank != 2 || w.shape[0] < 1 || w.shape[1] < 1) return {};
  const int64_t n = w.shape[0];
  const int64_t k = w.shape[1];
  const auto* bytes = static_cast<const unsigned char*>(w.data);
  const size_t row_bytes = static_cast<size_t>(k) * dtype_size(w.dtype);
  INTAGLIO_ASSIGN(
      const QuantizeRowsImplementation* implementation,
      choose(OpName{"quantize_weight_rows", "int8 quantization"}, quantize_rows_implementations(),
             DType::kF32, context, [](DType dtype) { return std::string(dtype_name(dtype)); }));
  Context serial = context;
  serial.threads = 1;
  const int64_t grain = std::max<int64_t>(1, kPieceElements / k);
  INTAGLIO_TRY(parallel_tasks(context, n, grain, [&](int64_t begin, int64_t end, int) {
    // Weights come in any float type and unaligned; a row at a time goes through float.
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t r = begin; r < end; ++r) {
      convert_to_f32(bytes + static_cast<size_t>(r) * row_bytes, w.dtype, row.data(), row.size());
      static_cast<void>(
          implementation->run(serial, row.data(), DType::kF32, k, 1, k, q + r * k, scale + r));
    }
  }));
  return {};
}

}  // namespace intaglio
