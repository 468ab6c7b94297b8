// Every instruction set that this processor has is met by its own implementation of each op: a
// comparison of all implementations that can run means nothing where none can.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "ops/conv2d.h"
#include "ops/float_gemm.h"
#include "ops/norm.h"
#include "ops/quantize.h"
#include "ops/s8_gemm.h"
#include "ops/stored_rows.h"

namespace intaglio {
namespace {

constexpr CpuIsa kLevels[] = {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx};

// The name of the first of `list` that takes the level, of those that the project wrote itself:
// libraries stand beside them.
template <typename Implementation, typename Desc>
std::string own_at(std::span<const Implementation> list, const Desc& desc, CpuIsa level) {
  const Context context{.cpu = limit_cpu_features(host_cpu_features(), level)};
  for (const Implementation& implementation : list) {
    const std::string name = implementation.name;
    if (implementation.device != DeviceKind::kCpu || name.starts_with("onednn")) continue;
    if (implementation.can_run(desc, context) == nullptr) return name;
  }
  return "none";
}

template <typename Implementation, typename Desc>
void expect_own(std::span<const Implementation> list, const Desc& desc,
                const std::map<CpuIsa, std::string>& wanted) {
  int levels = 0;
  for (const CpuIsa level : kLevels) {
    if (level > host_cpu_features().isa) break;
    EXPECT_EQ(own_at(list, desc, level), wanted.at(level)) << cpu_isa_name(level);
    ++levels;
  }
  EXPECT_GE(levels, 1);
}

TEST(Levels, EachHasItsOwnImplementations) {
  expect_own(s8_gemm_implementations(), S8GemmDesc{.m = 4, .n = 64, .k = 64},
             {{CpuIsa::kRef, "ref_s8_gemm"},
              {CpuIsa::kAvx2, "avx2_s8_gemm"},
              {CpuIsa::kAvx512Vnni, "avx512vnni_s8_gemm"},
              {CpuIsa::kAmx, "amx_s8_gemm"}});
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    expect_own(quantize_rows_implementations(), QuantizeRowsDesc{.input = dtype},
               {{CpuIsa::kRef, "ref_quantize_rows"},
                {CpuIsa::kAvx2, "avx2_quantize_rows"},
                {CpuIsa::kAvx512Vnni, "avx512_quantize_rows"},
                {CpuIsa::kAmx, "avx512_quantize_rows"}});
  }
  expect_own(quantize_stored_rows_implementations(), StoredRows{},
             {{CpuIsa::kRef, "ref_quantize_stored_rows"},
              {CpuIsa::kAvx2, "avx2_quantize_stored_rows"},
              {CpuIsa::kAvx512Vnni, "avx512_quantize_stored_rows"},
              {CpuIsa::kAmx, "avx512_quantize_stored_rows"}});
  expect_own(norm_implementations(), NormDesc{.rows = 1, .cols = 64},
             {{CpuIsa::kRef, "ref_norm"},
              {CpuIsa::kAvx2, "avx2_norm"},
              {CpuIsa::kAvx512Vnni, "avx512_norm"},
              {CpuIsa::kAmx, "avx512_norm"}});
  expect_own(float_gemm_implementations(), FloatGemmDesc{.m = 4, .n = 64, .k = 64},
             {{CpuIsa::kRef, "ref_float_gemm"},
              {CpuIsa::kAvx2, "avx2_f32_gemm"},
              {CpuIsa::kAvx512Vnni, "avx512_f32_gemm"},
              {CpuIsa::kAmx, "avx512_f32_gemm"}});
  expect_own(conv2d_implementations(),
             Conv2dDesc{.height = 8, .width = 8, .in_channels = 16, .out_channels = 16},
             {{CpuIsa::kRef, "ref_conv2d"},
              {CpuIsa::kAvx2, "avx2_f32_conv2d"},
              {CpuIsa::kAvx512Vnni, "avx512_f32_conv2d"},
              {CpuIsa::kAmx, "avx512_f32_conv2d"}});
}

}  // namespace
}  // namespace intaglio
