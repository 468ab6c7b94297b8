#include "ops/cpu/float_gemm_driver.h"

#include <algorithm>

#include "core/aligned_buffer.h"
#include "core/parallel_tasks.h"

namespace intaglio::cpu {
namespace {

constexpr int64_t kRowChunk = 384;  // rows that share one packing of a panel
constexpr int64_t kPanelBytes =
    131072;  // a panel block stays in the second-level cache beside its rows

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How one product is cut: the same numbers plan the scratch and run it.
struct Blocking {
  int64_t rows = 0;   // of a task
  int64_t depth = 0;  // of a panel block
  int64_t panels = 0, chunks = 0;
  size_t panel_bytes = 0, sums_bytes = 0, widened_bytes = 0;  // a thread's scratch

  size_t thread_bytes() const { return panel_bytes + sums_bytes + widened_bytes; }
};

Blocking make_blocking(const FloatGemmKernels& kernels, const FloatGemmDesc& desc, int threads) {
  const int64_t element = kernels.bf16 ? 2 : 4;
  Blocking b;
  b.panels = ceil_div(desc.n, kPanelColumns);
  b.chunks = ceil_div(desc.m, kRowChunk);
  // Few panels: cut the rows finer, so that every thread has about two tasks.
  const int64_t wanted = ceil_div(2 * static_cast<int64_t>(std::max(threads, 1)), b.panels);
  b.chunks = std::max(b.chunks, std::min(wanted, ceil_div(desc.m, 48)));
  b.rows = static_cast<int64_t>(align_up(static_cast<size_t>(ceil_div(desc.m, b.chunks)), 12));
  b.chunks = ceil_div(desc.m, b.rows);
  const int64_t full_depth = kPanelBytes / (kPanelColumns * element);
  const int64_t depth_blocks = ceil_div(desc.k, full_depth);
  b.depth = static_cast<int64_t>(align_up(static_cast<size_t>(ceil_div(desc.k, depth_blocks)), 32));
  b.panel_bytes = align_up(static_cast<size_t>(kPanelColumns * b.depth * element), kCacheLine);
  if (desc.out_dtype == DType::kBF16 && b.depth < desc.k) {
    b.sums_bytes = static_cast<size_t>(b.rows * kPanelColumns) * sizeof(float);
  }
  if (desc.in_dtype == DType::kBF16 && !kernels.bf16) {
    b.widened_bytes = align_up(static_cast<size_t>(b.rows * b.depth) * sizeof(float), kCacheLine);
  }
  return b;
}

void widen_rows(const BFloat16* source, int64_t ld, int64_t rows, int64_t cols, float* target) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c)
      target[r * cols + c] = static_cast<float>(source[r * ld + c]);
  }
}

const std::byte* offset(const void* p, int64_t elements, DType dtype) {
  return static_cast<const std::byte*>(p) + elements * static_cast<int64_t>(dtype_size(dtype));
}

std::byte* offset(void* p, int64_t elements, DType dtype) {
  return static_cast<std::byte*>(p) + elements * static_cast<int64_t>(dtype_size(dtype));
}

// One task: rows [row, row + rows) of one panel of columns, over all depth blocks.
void run_task(const FloatGemmKernels& kernels, const FloatGemmDesc& desc, const FloatGemmArgs& args,
              const Blocking& blocking, int64_t task, std::byte* scratch) {
  const bool bf16_in = desc.in_dtype == DType::kBF16;
  const bool bf16_out = desc.out_dtype == DType::kBF16;
  const int64_t row = task / blocking.panels * blocking.rows;
  const int64_t column = task % blocking.panels * kPanelColumns;
  auto* sums = reinterpret_cast<float*>(scratch + blocking.panel_bytes);
  auto* widened = reinterpret_cast<float*>(scratch + blocking.panel_bytes + blocking.sums_bytes);

  FloatGemmBlock block;
  block.m = std::min(blocking.rows, desc.m - row);
  block.n = std::min(kPanelColumns, desc.n - column);
  block.panel = scratch;
  void* out = offset(args.out, row * args.ldo + column, desc.out_dtype);
  for (int64_t c = 0; c < desc.k; c += blocking.depth) {
    block.k = std::min(blocking.depth, desc.k - c);
    kernels.pack(offset(args.w, column * desc.k + c, desc.in_dtype), bf16_in, desc.k, block.n,
                 block.k, scratch);
    block.a = offset(args.a, row * args.lda + c, desc.in_dtype);
    block.lda = args.lda;
    if (bf16_in && !kernels.bf16) {
      widen_rows(static_cast<const BFloat16*>(block.a), args.lda, block.m, block.k, widened);
      block.a = widened;
      block.lda = block.k;
    }
    const bool last = c + blocking.depth >= desc.k;
    const bool to_sums = bf16_out && !last;
    block.bias = c == 0 && args.bias != nullptr ? args.bias + column : nullptr;
    block.sums = c == 0 ? nullptr : bf16_out ? sums : static_cast<const float*>(out);
    block.ld_sums = bf16_out ? kPanelColumns : args.ldo;
    block.out = to_sums ? sums : out;
    block.ld_out = to_sums ? kPanelColumns : args.ldo;
    block.bf16_out = bf16_out && last;
    kernels.block(block);
  }
}

}  // namespace

size_t float_gemm_scratch_bytes(const FloatGemmKernels& kernels, const FloatGemmDesc& desc,
                                int threads) {
  if (desc.m <= kDotRows) return 0;
  return make_blocking(kernels, desc, threads).thread_bytes() *
         static_cast<size_t>(std::max(threads, 1));
}

Status run_float_dot(const FloatGemmKernels& kernels, const Context& context,
                     const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  INTAGLIO_TRY(parallel_tasks(context, desc.n, 32, [&](int64_t begin, int64_t end, int) {
    kernels.dot({.a = args.a,
                 .lda = args.lda,
                 .w = offset(args.w, begin * desc.k, desc.in_dtype),
                 .m = desc.m,
                 .n = end - begin,
                 .k = desc.k,
                 .bf16_in = desc.in_dtype == DType::kBF16,
                 .bias = args.bias != nullptr ? args.bias + begin : nullptr,
                 .out = offset(args.out, begin, desc.out_dtype),
                 .ld_out = args.ldo,
                 .bf16_out = desc.out_dtype == DType::kBF16});
  }));
  return {};
}

Status run_float_gemm(const FloatGemmKernels& kernels, const Context& context,
                      const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (desc.m <= 0 || desc.n <= 0) return {};
  if (desc.m <= kDotRows) {
    return run_float_dot(kernels, context, desc, args);
  }
  if (context.scratch == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "float_gemm: context.scratch is null");
  }
  const Blocking blocking = make_blocking(kernels, desc, context.threads);
  const Arena::Scope scope(*context.scratch);
  const auto bytes = static_cast<int64_t>(blocking.thread_bytes());
  INTAGLIO_ASSIGN(std::byte* const scratch,
                  context.scratch->take<std::byte>(bytes * std::max(context.threads, 1)));
  INTAGLIO_TRY(parallel_tasks(
      context, blocking.chunks * blocking.panels, 1, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t task = begin; task < end; ++task) {
          run_task(kernels, desc, args, blocking, task, scratch + thread * bytes);
        }
      }));
  return {};
}

}  // namespace intaglio::cpu
