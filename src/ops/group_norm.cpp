#include "ops/group_norm.h"

#include "ops/cpu/group_norm_implementations.h"
#include "ops/cuda/group_norm.h"
#include "ops/op_list.h"

namespace intaglio {
namespace {

size_t no_scratch(const GroupNormDesc&) { return 0; }

template <const cpu::FloatRowKernels* kKernels>
Status group_norm_of(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args) {
  return cpu::group_norm_by(*kKernels, context, desc, args);
}

#if defined(INTAGLIO_X86)
Refusal needs_avx512(const GroupNormDesc&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx512Vnni ? "needs AVX-512" : nullptr;
}

Refusal needs_avx2(const GroupNormDesc&, const Context& context) {
  return context.cpu.isa < CpuIsa::kAvx2 ? "needs AVX2 and FMA" : nullptr;
}
#endif

constexpr auto kImplementations = op_list<GroupNormImplementation>(
    GpuEntry<cuda::op::group_norm_refusal, cuda::op::group_norm_scratch_bytes,
             cuda::op::group_norm>{"cuda_group_norm"},
    {
#if defined(INTAGLIO_X86)
      {"avx512_group_norm", needs_avx512, cpu::group_norm_scratch_bytes,
       group_norm_of<&cpu::kAvx512FloatRows>},
          {"avx2_group_norm", needs_avx2, cpu::group_norm_scratch_bytes,
           group_norm_of<&cpu::kAvx2FloatRows>},
#else
      {"cpu_group_norm", takes_all, cpu::group_norm_scratch_bytes,
       group_norm_of<&cpu::kGenericFloatRows>},
#endif
      {
        "ref_group_norm", takes_all, no_scratch, ref::group_norm
      }
    });

std::string describe(const GroupNormDesc& d) {
  return fmt::format("[{}, {}] in {} groups {}{}", d.pixels, d.channels, d.groups,
                     dtype_name(d.dtype), d.silu ? " silu" : "");
}

Status check(const GroupNormDesc& d) {
  if (d.pixels < 1 || d.channels < 1 || d.groups < 1 || d.channels % d.groups != 0) {
    return make_error(ErrorCode::kInvalidArgument, "group_norm: {} pixels, {} channels, {} groups",
                      d.pixels, d.channels, d.groups);
  }
  if (d.dtype != DType::kF32 && d.dtype != DType::kBF16) {
    return make_error(ErrorCode::kInvalidArgument, "group_norm: type {}, expected F32 or BF16",
                      dtype_name(d.dtype));
  }
  if (!(d.eps >= 0.0f)) {
    return make_error(ErrorCode::kInvalidArgument, "group_norm: eps {}, expected 0 or more", d.eps);
  }
  return {};
}

}  // namespace

std::span<const GroupNormImplementation> group_norm_implementations() { return kImplementations; }

size_t group_norm_scratch_bytes(const Context& context, const GroupNormDesc& desc) {
  if (!check(desc)) return 0;
  const GroupNormImplementation* const chosen =
      first_taker(group_norm_implementations(), desc, context);
  return chosen == nullptr ? 0 : chosen->scratch_bytes(desc);
}

Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args) {
  INTAGLIO_TRY(check(desc));
  if (args.x == nullptr || args.weight == nullptr || args.bias == nullptr || args.y == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "group_norm: x, weight, bias and y must not be null");
  }
  INTAGLIO_ASSIGN(const GroupNormImplementation* chosen,
                  choose(OpName{"group_norm", "a group norm"}, group_norm_implementations(), desc,
                         context, describe));
  if (context.scratch == nullptr && chosen->scratch_bytes(desc) > 0)
    return make_error(ErrorCode::kInvalidArgument, "group_norm: context.scratch is null");
  return chosen->run(context, desc, args);
}

}  // namespace intaglio
