#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "abi/int8_linear_checks.h"
#include "abi/read_struct.h"

namespace intaglio::test {
namespace {

using abi::LinearPlan;
using abi::plan_linear;

intaglio_int8_linear_desc good_desc() {
  return {.struct_size = sizeof(intaglio_int8_linear_desc),
          .m = 5,
          .n = 64,
          .k = 40,
          .lda = 0,
          .ldw = 0,
          .ldo = 0,
          .a_type = INTAGLIO_TYPE_BF16,
          .out_type = INTAGLIO_TYPE_F16,
          .fusion = INTAGLIO_FUSION_NONE,
          .flags = 0};
}

std::string error_of(const intaglio_int8_linear_desc& desc) {
  const Expected<LinearPlan> plan = plan_linear(desc);
  return plan ? "ok" : plan.error().message;
}

TEST(LinearDesc, FillsStridesAndPlacesTheWorkspace) {
  const Expected<LinearPlan> plan = plan_linear(good_desc());
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->quantizes());
  EXPECT_EQ(plan->lda, 40);
  EXPECT_EQ(plan->gemm.lda, 48);  // rows of 16-byte pieces
  EXPECT_EQ(plan->gemm.ldw, 40);
  EXPECT_EQ(plan->gemm.ldo, 64);
  EXPECT_EQ(plan->scale_offset, 256u);  // 5 x 48 bytes, rounded up
  EXPECT_EQ(plan->gemm_offset, 512u);
  EXPECT_EQ(abi::workspace_bytes(*plan, 100), 612u);
}

TEST(LinearDesc, Int8NeedsNoWorkspaceOfItsOwn) {
  auto desc = good_desc();
  desc.a_type = INTAGLIO_TYPE_I8;
  desc.lda = 41;
  const Expected<LinearPlan> plan = plan_linear(desc);
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan->quantizes());
  EXPECT_EQ(plan->gemm.lda, 41);
  EXPECT_EQ(abi::workspace_bytes(*plan, 0), 0u);
}

TEST(LinearDesc, SwigluHalvesTheColumns) {
  auto desc = good_desc();
  desc.fusion = INTAGLIO_FUSION_SWIGLU;
  EXPECT_EQ(plan_linear(desc)->gemm.ldo, 32);
  desc.ldo = 31;
  EXPECT_EQ(error_of(desc), "desc.ldo: 31, expected 0, or 32 to 2147483647 elements");
  desc.n = 48;
  EXPECT_EQ(error_of(desc), "desc.n: 48, expected a multiple of 32 with SWIGLU");
}

TEST(LinearDesc, NamesASizeThatIsOff) {
  auto desc = good_desc();
  desc.m = -1;
  EXPECT_EQ(error_of(desc), "desc.m: -1, expected 0 to 2147483647");
  desc = good_desc();
  desc.n = 0;
  EXPECT_EQ(error_of(desc), "desc.n: 0, expected 1 to 2147483647");
  desc = good_desc();
  desc.k = 0;
  EXPECT_EQ(error_of(desc), "desc.k: 0, expected 1 to 130000");
  desc.k = 130001;
  EXPECT_EQ(error_of(desc), "desc.k: 130001, expected 1 to 130000");
  desc = good_desc();
  desc.m = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(error_of(desc), "desc.m: 9223372036854775807, expected 0 to 2147483647");
}

TEST(LinearDesc, NamesAStrideThatIsOff) {
  auto desc = good_desc();
  desc.lda = 39;
  EXPECT_EQ(error_of(desc), "desc.lda: 39, expected 0, or 40 to 2147483647 elements");
  desc = good_desc();
  desc.ldw = -1;
  EXPECT_EQ(error_of(desc), "desc.ldw: -1, expected 0, or 40 to 2147483647 elements");
  desc = good_desc();
  desc.out_type = INTAGLIO_TYPE_F32;
  desc.m = desc.ldo = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(error_of(desc),
            "desc.ldo: 2147483647 rows of 2147483647 elements of 4 bytes overflow 64 bits");
}

TEST(LinearDesc, NamesATypeThatIsOff) {
  auto desc = good_desc();
  desc.a_type = 0;
  EXPECT_EQ(error_of(desc), "desc.a_type: 0, expected I8, BF16, F16 or F32");
  desc.a_type = INTAGLIO_TYPE_I32;
  EXPECT_EQ(error_of(desc), "desc.a_type: 2, expected I8, BF16, F16 or F32");
  desc = good_desc();
  desc.out_type = INTAGLIO_TYPE_I8;
  EXPECT_EQ(error_of(desc), "desc.out_type: 1, expected BF16, F16, F32 or I32");
  desc.out_type = INTAGLIO_TYPE_I32;
  EXPECT_EQ(error_of(desc), "desc.a_type: BF16, expected I8 with out_type I32");
  desc.a_type = INTAGLIO_TYPE_I8;
  EXPECT_EQ(error_of(desc), "ok");
  desc.fusion = INTAGLIO_FUSION_SWIGLU;
  EXPECT_EQ(error_of(desc), "desc.fusion: SWIGLU, expected NONE with out_type I32");
  desc.fusion = 7;
  EXPECT_EQ(error_of(desc), "desc.fusion: 7, expected NONE, SWIGLU or GELU_TANH");
  desc = good_desc();
  desc.flags = 6;
  EXPECT_EQ(error_of(desc), "desc.flags: 0x6, expected 0 or INTAGLIO_TRUST_POINTERS");
}

// A struct of an older and of a newer version of this library.
struct Version1 {
  uint64_t struct_size;
  int64_t first;
};
struct Version2 {
  uint64_t struct_size;
  int64_t first, second;
};

TEST(ReadStruct, FillsWhatAnOlderCallerLacks) {
  const Version1 old{sizeof(Version1), 7};
  Version2 read{1, 2, 3};
  ASSERT_TRUE(
      abi::read_struct(reinterpret_cast<const Version2*>(&old), "args", sizeof(Version1), read));
  EXPECT_EQ(read.first, 7);
  EXPECT_EQ(read.second, 0);
}

TEST(ReadStruct, TakesANewerCallerThatLeavesNewFieldsZero) {
  Version2 newer{sizeof(Version2), 7, 0};
  Version1 read{};
  const auto* as_old = reinterpret_cast<const Version1*>(&newer);
  ASSERT_TRUE(abi::read_struct(as_old, "args", sizeof(Version1), read));
  EXPECT_EQ(read.first, 7);
  newer.second = 1;
  const Status status = abi::read_struct(as_old, "args", sizeof(Version1), read);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(status.error().message,
            "args: sets a field after byte 16, which this version of the library lacks");
}

TEST(ReadStruct, RefusesNullAndSizesThatCannotBe) {
  Version1 read{};
  EXPECT_EQ(abi::read_struct<Version1>(nullptr, "desc", 16, read).error().message,
            "desc: null, expected a struct");
  for (const uint64_t size : {uint64_t{0}, uint64_t{15}, uint64_t{4097}, ~uint64_t{0}}) {
    const Version1 bad{size, 0};
    EXPECT_EQ(abi::read_struct(&bad, "desc", 16, read).error().message,
              "desc.struct_size: " + std::to_string(size) +
                  ", expected the size of the struct, 16 bytes");
  }
}

}  // namespace
}  // namespace intaglio::test
