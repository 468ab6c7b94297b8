#include "core/cpu_features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/scoped_environment.h"

namespace intaglio::test {
namespace {

using testing::HasSubstr;

constexpr CpuIsa kAll[] = {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx};
const CpuFeatures kEverything{.isa = CpuIsa::kAmx,
                              .avx512_bf16 = true,
                              .fast_bf16_dot = true,
                              .amx_bf16 = true,
                              .brand = "all"};

TEST(CpuFeatures, NamesGoThereAndBack) {
  for (const CpuIsa isa : kAll) EXPECT_EQ(cpu_isa_from_name(cpu_isa_name(isa)), isa);
  EXPECT_EQ(cpu_isa_name(CpuIsa::kAvx512Vnni), "avx512vnni");
  for (const char* name : {"", "AVX2", "avx512", "amx "})
    EXPECT_FALSE(cpu_isa_from_name(name)) << name;
}

TEST(CpuFeatures, LimitsTakeAwayWhatBelongsToHigherLevels) {
  const CpuFeatures amx = limit_cpu_features(kEverything, CpuIsa::kAmx);
  EXPECT_TRUE(amx.isa == CpuIsa::kAmx && amx.amx_bf16 && amx.avx512_bf16);
  const CpuFeatures vnni = limit_cpu_features(kEverything, CpuIsa::kAvx512Vnni);
  EXPECT_TRUE(vnni.isa == CpuIsa::kAvx512Vnni && !vnni.amx_bf16 && vnni.avx512_bf16 &&
              vnni.fast_bf16_dot);
  for (const CpuIsa isa : {CpuIsa::kAvx2, CpuIsa::kRef}) {
    const CpuFeatures low = limit_cpu_features(kEverything, isa);
    EXPECT_TRUE(low.isa == isa && !low.amx_bf16 && !low.avx512_bf16 && !low.fast_bf16_dot);
    EXPECT_EQ(low.brand, "all");
  }
}

TEST(CpuFeatures, LimitsNeverRaise) {
  CpuFeatures avx2;
  avx2.isa = CpuIsa::kAvx2;
  EXPECT_EQ(limit_cpu_features(avx2, CpuIsa::kAmx).isa, CpuIsa::kAvx2);
}

TEST(CpuFeatures, HostIsConsistent) {
  const CpuFeatures& host = host_cpu_features();
  EXPECT_TRUE(!host.avx512_bf16 || host.isa >= CpuIsa::kAvx512Vnni);
  EXPECT_TRUE(!host.fast_bf16_dot || host.avx512_bf16);
  EXPECT_TRUE(!host.amx_bf16 || host.isa == CpuIsa::kAmx);
#if defined(__x86_64__) && defined(__GNUC__)
  // The compiler's own run-time detection, which also looks at what the system saves.
  EXPECT_EQ(host.fast_bf16_dot, host.avx512_bf16 && !__builtin_cpu_is("intel"));
  EXPECT_EQ(host.isa >= CpuIsa::kAvx2,
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  if (host.isa >= CpuIsa::kAvx512Vnni) {
    EXPECT_TRUE(__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw"));
  }
#endif
}

TEST(SelectedCpuFeatures, TheHostWithoutTheVariable) {
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    const ScopedEnvironment environment("INTAGLIO_CPU_ISA", value);
    const auto selected = selected_cpu_features();
    ASSERT_TRUE(selected);
    EXPECT_EQ(selected->isa, host_cpu_features().isa);
    EXPECT_EQ(selected->avx512_bf16, host_cpu_features().avx512_bf16);
  }
}

TEST(SelectedCpuFeatures, EveryLevelUpToTheHosts) {
  for (const CpuIsa isa : kAll) {
    const std::string name(cpu_isa_name(isa));
    const ScopedEnvironment environment("INTAGLIO_CPU_ISA", name.c_str());
    const auto selected = selected_cpu_features();
    if (isa <= host_cpu_features().isa) {
      ASSERT_TRUE(selected) << selected.error().message;
      EXPECT_EQ(selected->isa, isa);
    } else {
      ASSERT_FALSE(selected);
      EXPECT_EQ(selected.error().code, ErrorCode::kUnsupported);
      EXPECT_THAT(selected.error().message, HasSubstr("INTAGLIO_CPU_ISA asks for " + name));
      EXPECT_THAT(selected.error().message,
                  HasSubstr(std::string(cpu_isa_name(host_cpu_features().isa))));
    }
  }
}

TEST(SelectedCpuFeatures, UnknownNamesAreErrors) {
  const ScopedEnvironment environment("INTAGLIO_CPU_ISA", "sse9");
  const auto selected = selected_cpu_features();
  ASSERT_FALSE(selected);
  EXPECT_EQ(selected.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(selected.error().message,
            "INTAGLIO_CPU_ISA is 'sse9'; expected one of ref, avx2, avx512vnni, amx");
}

}  // namespace
}  // namespace intaglio::test
