#include "ops/ref/float_gemm.h"

#include "core/parallel_tasks.h"

namespace intaglio::ref {
namespace {

template <typename T>
Status multiply(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  const auto* a = static_cast<const T*>(args.a);
  const auto* w = static_cast<const T*>(args.w);
  INTAGLIO_TRY(parallel_tasks(context, desc.m, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t m = begin; m < end; ++m) {
      for (int64_t n = 0; n < desc.n; ++n) {
        double sum = args.bias != nullptr ? static_cast<double>(args.bias[n]) : 0.0;
        for (int64_t k = 0; k < desc.k; ++k) {
          sum += static_cast<double>(static_cast<float>(a[m * args.lda + k])) *
                 static_cast<double>(static_cast<float>(w[n * desc.k + k]));
        }
        const auto value = static_cast<float>(sum);
        if (desc.out_dtype == DType::kBF16) {
          static_cast<BFloat16*>(args.out)[m * args.ldo + n] = BFloat16(value);
        } else {
          static_cast<float*>(args.out)[m * args.ldo + n] = value;
        }
      }
    }
  }));
  return {};
}

}  // namespace

Status float_gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (desc.in_dtype == DType::kBF16) return multiply<BFloat16>(context, desc, args);
  return multiply<float>(context, desc, args);
}

}  // namespace intaglio::ref
