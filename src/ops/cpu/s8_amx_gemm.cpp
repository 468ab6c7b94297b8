// The AMX int8 GEMM: checks and packing. The loops are in amx/amx_gemm_kernel.h, the blocking in
// amx_blocking.cpp, scratch and threads in amx_product.h.
#if defined(INTAGLIO_X86)

#include "ops/cpu/s8_amx_gemm.h"

#include "ops/cpu/amx_product.h"
#include "ops/cpu/s8_gemm_implementations.h"
#include "ops/cpu/s8_pack.h"

namespace intaglio {
namespace {

using AmxPacking = S8Packing<S8AmxLayout>;

AmxSizes sizes_of(const S8GemmDesc& desc) { return {desc.m, desc.n, desc.k}; }

}  // namespace

size_t s8_amx_scratch_bytes(const S8GemmDesc& desc, int threads, const AmxTuning& tuning) {
  return amx_product_scratch_bytes(sizes_of(desc), amx_plan(sizes_of(desc), threads, tuning));
}

Status s8_amx_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args,
                  S8AmxKernel kernel, const AmxTuning& tuning) {
  INTAGLIO_TRY(check_s8_gemm(desc, args));
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "s8_gemm: the context has no scratch memory");
  return run_amx_product<S8Epilogue>(context,
                                     {.sizes = sizes_of(desc),
                                      .a = args.a,
                                      .lda = args.lda,
                                      .w = static_cast<const uint8_t*>(args.w_packed),
                                      .epilogue = make_s8_epilogue(desc, args),
                                      .kernel = kernel},
                                     tuning);
}

namespace {

Refusal can_run(const S8GemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAmx) return "needs AMX-INT8";
  return refuse_s8_gemm_desc(desc);
}

size_t scratch_bytes(const S8GemmDesc& desc, const Context& context) {
  return s8_amx_scratch_bytes(desc, context.threads, AmxTuning{});
}

Status run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  return s8_amx_run(context, desc, args, amx_s8_task, AmxTuning{});
}

}  // namespace

extern const S8GemmImplementation kAmxS8Gemm{
    "amx_s8_gemm", can_run, AmxPacking::packed_bytes, AmxPacking::pack, AmxPacking::unpack_rows,
    scratch_bytes, run};

}  // namespace intaglio

#endif  // INTAGLIO_X86
