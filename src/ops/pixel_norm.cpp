#include "ops/pixel_norm.h"

#include "ops/cpu/float_row_kernels.h"
#include "ops/cuda/pixel_norm.h"
#include "ops/pixel_norm_implementations.h"

namespace intaglio {
namespace {

template <const cpu::FloatRowKernels* kKernels>
Status pixel_norm_of(const Context& context, const PixelNorm& op) {
  return cpu::pixel_norm_by(*kKernels, context, op);
}

#if defined(INTAGLIO_X86)
Refusal needs_avx512(const PixelNorm&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx512Vnni ? "needs AVX-512" : nullptr;
}

Refusal needs_avx2(const PixelNorm&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx2 ? "needs AVX2 and FMA" : nullptr;
}
#endif

constexpr auto kPixelNorm = op_list<OpImplementation<PixelNorm>>(
    GpuEntry<cuda::op::pixel_norm_refusal, cuda::op::pixel_norm>{"cuda_pixel_norm"}, {
#if defined(INTAGLIO_X86)
      {"avx512_pixel_norm", needs_avx512, pixel_norm_of<&cpu::kAvx512FloatRows>},
          {"avx2_pixel_norm", needs_avx2, pixel_norm_of<&cpu::kAvx2FloatRows>},
#endif
          {"cpu_pixel_norm", takes_all, pixel_norm_of<&cpu::kGenericFloatRows>}, {
        "ref_pixel_norm", takes_all, ref::pixel_norm
      }
    });

}  // namespace

OpList<PixelNorm> pixel_norm_implementations() { return kPixelNorm; }

Status pixel_norm(const Context& context, const PixelNorm& op) {
  if (op.pixels < 0 || op.channels < 1) {
    return make_error(ErrorCode::kInvalidArgument, "pixel_norm: {} pixels, {} channels", op.pixels,
                      op.channels);
  }
  if (op.dtype != DType::kF32 && op.dtype != DType::kBF16) {
    return make_error(ErrorCode::kUnsupported, "pixel_norm: type {}; expected F32 or BF16",
                      dtype_name(op.dtype));
  }
  if (op.pixels == 0) return {};
  if (op.x == nullptr || op.weight == nullptr || op.y == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "pixel_norm: x, weight and y must not be null");
  }
  return run_first(OpName{"pixel_norm", "a norm of pixels"}, pixel_norm_implementations(), context,
                   op, [](const PixelNorm& o) {
                     return fmt::format("[{}, {}] {}{}", o.pixels, o.channels, dtype_name(o.dtype),
                                        o.silu ? " silu" : "");
                   });
}

}  // namespace intaglio
