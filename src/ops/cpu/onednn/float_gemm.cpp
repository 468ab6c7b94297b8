#include <unordered_map>

#include "ops/cpu/float_gemm_driver.h"
#include "ops/cpu/onednn/onednn_common.h"
#include "ops/cpu/onednn/onednn_ops.h"

namespace intaglio::onednn {
namespace {

using Tag = dnnl::memory::format_tag;

struct Gemm {
  dnnl::matmul::primitive_desc desc;
  dnnl::matmul primitive;
};

using Cache = PrimitiveCache<Gemm, 9>;

Cache& cache() {
  static Cache instance;
  return instance;
}

// The calling thread's OpenMP count must be `threads`.
std::shared_ptr<const Gemm> find_gemm(const FloatGemmDesc& desc, int64_t lda, int64_t ldo,
                                      bool has_bias, int threads) {
  const Cache::Key key{desc.m,
                       desc.n,
                       desc.k,
                       lda,
                       ldo,
                       static_cast<int64_t>(desc.in_dtype),
                       static_cast<int64_t>(desc.out_dtype),
                       has_bias,
                       threads};
  return cache().get(key, [&] {
    const dnnl::memory::desc a({desc.m, desc.k}, data_type(desc.in_dtype),
                               dnnl::memory::dims{lda, 1});
    const dnnl::memory::desc w({desc.k, desc.n}, data_type(desc.in_dtype), Tag::ba);
    const dnnl::memory::desc bias({1, desc.n}, dnnl::memory::data_type::f32, Tag::ab);
    const dnnl::memory::desc out({desc.m, desc.n}, data_type(desc.out_dtype),
                                 dnnl::memory::dims{ldo, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto op = has_bias ? dnnl::matmul::desc(a, w, bias, out) : dnnl::matmul::desc(a, w, out);
    dnnl::matmul::primitive_desc primitive_desc(op, attributes, cpu_engine());
    return Gemm{primitive_desc, dnnl::matmul(primitive_desc)};
  });
}

}  // namespace

Refusal refusal(const Context& context, DType dtype) {
  const CpuFeatures& host = host_cpu_features();
  if (context.cpu.isa < host.isa)
    return "the instruction set is limited below what oneDNN would use";
  if (dtype == DType::kBF16 && !context.cpu.avx512_bf16 && !context.cpu.amx_bf16)
    return "needs AVX-512 BF16 or AMX";
  return nullptr;
}

// The rows' stride may change oneDNN's choice and with it the scratch, so `gemm` falls back on
// oneDNN's own allocation if it differs.
size_t gemm_scratch_bytes(const FloatGemmDesc& desc, int threads) {
  size_t bytes = 0;
  (void)guarded("onednn_gemm", [&]() -> Status {
    const ThreadCount count(threads);
    bytes = align_up(
        find_gemm(desc, desc.k, desc.n, desc.has_bias, threads)->desc.scratchpad_desc().get_size(),
        kCacheLine);
    return {};
  });
  return bytes;
}

Status gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (desc.m <= 0) return {};
  if (desc.m <= cpu::kDotRows) {  // making a primitive would cost more than the product
    if (const cpu::FloatGemmKernels* kernels =
            cpu::select_float_gemm_kernels(context, desc.in_dtype)) {
      cpu::run_float_dot(*kernels, context, desc, args);
      return {};
    }
  }
  return guarded("onednn_gemm", [&]() -> Status {
    const ThreadCount count(context.threads);
    const auto gemm = find_gemm(desc, args.lda, args.ldo, args.bias != nullptr, context.threads);
    const auto scratchpad_desc = gemm->desc.scratchpad_desc();
    Scratchpad scratchpad;
    INTAGLIO_TRY(scratchpad.reserve(context, scratchpad_desc.get_size()));
    std::unordered_map<int, dnnl::memory> arguments{
        {DNNL_ARG_SRC, memory_at(gemm->desc.src_desc(), args.a)},
        {DNNL_ARG_WEIGHTS, memory_at(gemm->desc.weights_desc(), args.w)},
        {DNNL_ARG_DST, memory_at(gemm->desc.dst_desc(), args.out)},
        {DNNL_ARG_SCRATCHPAD, memory_at(scratchpad_desc, scratchpad.data())}};
    if (args.bias != nullptr)
      arguments.emplace(DNNL_ARG_BIAS, memory_at(gemm->desc.bias_desc(), args.bias));
    gemm->primitive.execute(cpu_stream(), arguments);
    cpu_stream().wait();
    return {};
  });
}

}  // namespace intaglio::onednn
