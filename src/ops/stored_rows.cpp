#include "ops/stored_rows.h"

#include <algorithm>

#include "core/aligned_buffer.h"
#include "core/finite.h"
#include "core/parallel_tasks.h"
#include "ops/cpu/stored_row_kernels.h"
#include "quant/int8_rows.h"

namespace intaglio {
namespace {

constexpr int64_t kPieceElements = 128 << 10;

// Calls row(w, work, q, scale), which says whether its numbers are finite, for all rows; `work` as
// the kernels want it.
template <typename Row>
Status by_rows(const Context& context, const StoredRows& op, Row&& row) {
  const int threads = std::max(1, context.threads);
  const int64_t work_floats =
      static_cast<int64_t>(align_up(static_cast<size_t>(op.cols + kStoredRowPadding), 16));
  INTAGLIO_ASSIGN(
      const AlignedBuffer work,
      AlignedBuffer::allocate(static_cast<size_t>(threads * work_floats) * sizeof(float)));
  const auto row_bytes = op.cols * static_cast<int64_t>(dtype_size(op.dtype));
  const int64_t grain = std::max<int64_t>(1, kPieceElements / op.cols);
  return parallel_tasks(
      context, threads, op.rows, grain, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t r = begin; r < end; ++r) {
          const bool finite =
              row(static_cast<const std::byte*>(op.w) + r * row_bytes,
                  work.as<float>() + thread * work_floats, op.q + r * op.cols, op.scale + r);
          if (!finite && op.finite != nullptr) *op.finite = false;
        }
      });
}

Status run_ref(const Context& context, const StoredRows& op) {
  return by_rows(context, op, [&](const void* w, float* work, int8_t* q, float* scale) {
    quantize_stored_row(w, op.dtype, op.cols, op.rotation, work, q, scale);
    return all_finite({work, static_cast<size_t>(op.cols)});  // the turned numbers
  });
}

#if defined(INTAGLIO_X86)
using Kernel = float (*)(const void*, int64_t, int64_t, float*, int8_t*, bool*);
// By type.
struct Kernels {
  Kernel f32, f16, bf16;
};
constexpr Kernels kAvx512{avx512_quantize_stored_row_f32, avx512_quantize_stored_row_f16,
                          avx512_quantize_stored_row_bf16};
constexpr Kernels kAvx2{avx2_quantize_stored_row_f32, avx2_quantize_stored_row_f16,
                        avx2_quantize_stored_row_bf16};

template <const Kernels& kKernels>
Status run(const Context& context, const StoredRows& op) {
  const Kernel kernel = op.dtype == DType::kBF16  ? kKernels.bf16
                        : op.dtype == DType::kF16 ? kKernels.f16
                                                  : kKernels.f32;
  return by_rows(context, op, [&](const void* w, float* work, int8_t* q, float* scale) {
    bool finite = true;
    *scale = kernel(w, op.rotation.group, op.cols, work, q, &finite);
    return finite;
  });
}

Refusal avx512_can_run(const StoredRows&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx512Vnni ? "needs AVX-512" : nullptr;
}
Refusal avx2_can_run(const StoredRows&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx2 ? "needs AVX2" : nullptr;
}
#endif

std::string describe(const StoredRows& op) {
  return fmt::format("{} [{}, {}] in groups of {}", dtype_name(op.dtype), op.rows, op.cols,
                     op.rotation.group);
}

}  // namespace

OpList<StoredRows> quantize_stored_rows_implementations() {
  static constexpr OpImplementation<StoredRows> kList[] = {
#if defined(INTAGLIO_X86)
    {"avx512_quantize_stored_rows", avx512_can_run, run<kAvx512>},
    {"avx2_quantize_stored_rows", avx2_can_run, run<kAvx2>},
#endif
    {"ref_quantize_stored_rows", takes_all, run_ref},
  };
  return kList;
}

Status quantize_stored_rows(const Context& context, const StoredRows& op) {
  const char* const refusal = rotation_refusal(op.cols, op.rotation);
  if (refusal != nullptr || op.cols < 1 || op.rows < 0 ||
      (op.dtype != DType::kF32 && op.dtype != DType::kF16 && op.dtype != DType::kBF16)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_stored_rows: {}: {}, F32, F16 or BF16 rows expected", describe(op),
                      refusal != nullptr ? refusal : "cannot be quantized");
  }
  return run_first({"quantize_stored_rows", "int8 quantization of weights"},
                   quantize_stored_rows_implementations(), context, op, describe);
}

}  // namespace intaglio
