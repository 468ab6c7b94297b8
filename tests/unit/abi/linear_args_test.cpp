#include <gtest/gtest.h>

#include <string>

#include "abi/int8_linear_checks.h"
#include "abi/last_error.h"
#include "fake_queries.h"

namespace intaglio::test {
namespace {

using abi::check_linear_args;
using abi::LinearPlan;
using cuda::MemoryKind;

constexpr uintptr_t kBase = 0x10000;

intaglio_int8_linear_args good_args() {
  return {.struct_size = sizeof(intaglio_int8_linear_args),
          .a = address(kBase),
          .a_scale = nullptr,
          .w = address(kBase + 0x1001),
          .w_scale = address(kBase + 0x2004),
          .bias = address(kBase + 0x3004),
          .out = address(kBase + 0x4002),
          .workspace = address(kBase + 0x5000),
          .workspace_bytes = 0x1000,
          .stream = nullptr};
}

LinearPlan plan_of(intaglio_type a, intaglio_type out, uint32_t flags = 0) {
  const intaglio_int8_linear_desc desc{.struct_size = sizeof(intaglio_int8_linear_desc),
                                       .m = 4,
                                       .n = 32,
                                       .k = 64,
                                       .lda = 0,
                                       .ldw = 0,
                                       .ldo = 0,
                                       .a_type = a,
                                       .out_type = out,
                                       .fusion = INTAGLIO_FUSION_NONE,
                                       .flags = flags};
  return abi::plan_linear(desc).value();
}

std::string error_of(const LinearPlan& plan, const intaglio_int8_linear_args& args,
                     const FakeQueries& queries = {}) {
  const Expected<int> device = check_linear_args(plan, args, queries);
  return device ? "ok" : device.error().message;
}

TEST(LinearArgs, GoodOnesPass) {
  const LinearPlan plan = plan_of(INTAGLIO_TYPE_BF16, INTAGLIO_TYPE_BF16);
  EXPECT_EQ(error_of(plan, good_args()), "ok");
  auto args = good_args();
  args.bias = nullptr;
  EXPECT_EQ(error_of(plan, args), "ok");
}

TEST(LinearArgs, NamesANullPointer) {
  const LinearPlan floats = plan_of(INTAGLIO_TYPE_BF16, INTAGLIO_TYPE_BF16);
  const LinearPlan ints = plan_of(INTAGLIO_TYPE_I8, INTAGLIO_TYPE_BF16);
  const auto null = [](const char* name) {
    return std::string(name) + ": null, expected a device pointer";
  };
  auto args = good_args();
  args.a = nullptr;
  EXPECT_EQ(error_of(floats, args), null("args.a"));
  EXPECT_EQ(error_of(ints, good_args()), null("args.a_scale"));
  args = good_args();
  args.w = nullptr;
  EXPECT_EQ(error_of(floats, args), null("args.w"));
  args = good_args();
  args.w_scale = nullptr;
  EXPECT_EQ(error_of(floats, args), null("args.w_scale"));
  args = good_args();
  args.out = nullptr;
  EXPECT_EQ(error_of(floats, args), null("args.out"));
}

TEST(LinearArgs, RawSumsNeedNoScalesAndTakeNoBias) {
  const LinearPlan plan = plan_of(INTAGLIO_TYPE_I8, INTAGLIO_TYPE_I32);
  auto args = good_args();
  args.w_scale = nullptr;
  args.out = address(kBase + 0x4000);
  EXPECT_EQ(error_of(plan, args), "args.bias: 0x13004, expected null with out_type I32");
  args.bias = nullptr;
  EXPECT_EQ(error_of(plan, args), "ok");
}

TEST(LinearArgs, AScaleBelongsToInt8) {
  auto args = good_args();
  args.a_scale = address(kBase);
  EXPECT_EQ(error_of(plan_of(INTAGLIO_TYPE_F32, INTAGLIO_TYPE_BF16), args),
            "args.a_scale: 0x10000, expected null with a of type F32");
}

TEST(LinearArgs, NamesAMisalignedPointer) {
  const LinearPlan plan = plan_of(INTAGLIO_TYPE_F32, INTAGLIO_TYPE_BF16);
  auto args = good_args();
  args.a = address(kBase + 2);
  EXPECT_EQ(error_of(plan, args), "args.a: at 0x10002, expected a multiple of 4 bytes");
  args = good_args();
  args.bias = address(kBase + 1);
  EXPECT_EQ(error_of(plan, args), "args.bias: at 0x10001, expected a multiple of 4 bytes");
  args = good_args();
  args.out = address(kBase + 1);
  EXPECT_EQ(error_of(plan, args), "args.out: at 0x10001, expected a multiple of 2 bytes");
}

TEST(LinearArgs, NamesMemoryThatIsNotOfTheDevice) {
  const LinearPlan plan = plan_of(INTAGLIO_TYPE_BF16, INTAGLIO_TYPE_BF16);
  const auto args = good_args();
  FakeQueries queries;
  queries.memory[args.w] = {MemoryKind::kHost, -1};
  EXPECT_EQ(error_of(plan, args, queries),
            "args.w: 0x11001 is host memory, expected memory of CUDA device 0");
  queries.memory = {{args.bias, {MemoryKind::kDevice, 1}}};
  EXPECT_EQ(error_of(plan, args, queries),
            "args.bias: 0x13004 is memory of CUDA device 1, expected the current device 0");
  queries.memory = {{args.a, {MemoryKind::kManaged, -1}}};
  EXPECT_EQ(error_of(plan, args, queries), "ok");
  queries.current = 2;
  queries.memory.clear();
  EXPECT_EQ(error_of(plan, args, queries),
            "args.stream: of CUDA device 0, expected the current device 2");
}

TEST(LinearArgs, TrustedPointersAreNotLookedUp) {
  const LinearPlan plan = plan_of(INTAGLIO_TYPE_BF16, INTAGLIO_TYPE_BF16, INTAGLIO_TRUST_POINTERS);
  FakeQueries queries;
  queries.current = 3;
  const Expected<int> device = check_linear_args(plan, good_args(), queries);
  ASSERT_TRUE(device);
  EXPECT_EQ(*device, 3);
  EXPECT_EQ(queries.asked, 0);
  auto args = good_args();
  args.out = address(kBase + 1);
  EXPECT_EQ(error_of(plan, args), "args.out: at 0x10001, expected a multiple of 2 bytes");
}

std::string workspace_error(const intaglio_int8_linear_args& args, uint64_t needed,
                            const FakeQueries& queries = {}) {
  const Status status = abi::check_workspace(args, needed, 0, false, queries);
  return status ? "ok" : status.error().message;
}

TEST(LinearArgs, WorkspaceIsLargeAlignedAndOnTheDevice) {
  auto args = good_args();
  EXPECT_EQ(workspace_error(args, 0x1000), "ok");
  EXPECT_EQ(workspace_error(args, 0x1001), "args.workspace_bytes: 4096, expected at least 4097");
  args.workspace = address(kBase + 128);
  EXPECT_EQ(workspace_error(args, 1),
            "args.workspace: at 0x10080, expected a multiple of 256 bytes");
  args.workspace = nullptr;
  EXPECT_EQ(workspace_error(args, 1), "args.workspace: null, expected a device pointer");
  EXPECT_EQ(workspace_error(args, 0), "ok");
  args = good_args();
  FakeQueries queries;
  queries.memory[args.workspace] = {MemoryKind::kHost, -1};
  EXPECT_EQ(workspace_error(args, 1, queries),
            "args.workspace: 0x15000 is host memory, expected memory of CUDA device 0");
}

intaglio_int8_quantize_rows_args good_rows() {
  return {.struct_size = sizeof(intaglio_int8_quantize_rows_args),
          .rows = 3,
          .cols = 20,
          .ldx = 0,
          .ldq = 32,
          .x = address(kBase + 2),
          .q = address(kBase + 0x1000),
          .scale = address(kBase + 0x2004),
          .stream = nullptr,
          .x_type = INTAGLIO_TYPE_F16,
          .flags = 0};
}

std::string rows_error(const intaglio_int8_quantize_rows_args& args) {
  const Expected<cuda::Int8RowsCall> call = abi::check_quantize_rows(args, FakeQueries{});
  return call ? "ok" : call.error().message;
}

TEST(QuantizeRowsArgs, NamesWhatIsOff) {
  EXPECT_EQ(rows_error(good_rows()), "ok");
  auto args = good_rows();
  args.ldq = 0;
  EXPECT_EQ(rows_error(args), "args.ldq: 20, expected a multiple of 16");
  args = good_rows();
  args.ldq = 16;
  EXPECT_EQ(rows_error(args), "args.ldq: 16, expected 0, or 20 to 2147483647 elements");
  args = good_rows();
  args.cols = 0;
  EXPECT_EQ(rows_error(args), "args.cols: 0, expected 1 to 2147483647");
  args = good_rows();
  args.x_type = INTAGLIO_TYPE_I8;
  EXPECT_EQ(rows_error(args), "args.x_type: 1, expected BF16, F16 or F32");
  args = good_rows();
  args.q = address(kBase + 8);
  EXPECT_EQ(rows_error(args), "args.q: at 0x10008, expected a multiple of 16 bytes");
  args = good_rows();
  args.scale = nullptr;
  EXPECT_EQ(rows_error(args), "args.scale: null, expected a device pointer");
  args.rows = 0;
  EXPECT_EQ(rows_error(args), "ok");
}

TEST(LastError, KeepsTheLastFailureOfItsThread) {
  EXPECT_EQ(abi::report(make_error(ErrorCode::kDevice, "cudaLaunchKernel: {}", "broken")),
            INTAGLIO_DEVICE_ERROR);
  EXPECT_EQ(abi::report(Status{}), INTAGLIO_OK);
  EXPECT_STREQ(abi::last_error(), "cudaLaunchKernel: broken");
  EXPECT_EQ(abi::report(make_error(ErrorCode::kUnsupported, "{}", std::string(5000, 'x'))),
            INTAGLIO_UNSUPPORTED);
  EXPECT_EQ(std::string(abi::last_error()), std::string(1023, 'x'));
  EXPECT_EQ(abi::guarded([]() -> Status { throw 1; }), INTAGLIO_INTERNAL);
}

TEST(Calls, WithoutCudaSayAfterTheChecksThatThereIsNone) {
  intaglio_int8_linear_desc desc{};
  desc.struct_size = sizeof desc;
  desc.m = desc.n = desc.k = 16;
  desc.a_type = desc.out_type = INTAGLIO_TYPE_F32;
  uint64_t bytes = 0;
  const intaglio_status status = intaglio_int8_linear_workspace(&desc, &bytes);
  if (status == INTAGLIO_UNSUPPORTED) {
    EXPECT_STREQ(intaglio_last_error(), "this build of the library has no CUDA");
  }
  desc.k = -3;
  EXPECT_EQ(intaglio_int8_linear_workspace(&desc, &bytes), INTAGLIO_INVALID_ARGUMENT);
  EXPECT_STREQ(intaglio_last_error(), "desc.k: -3, expected 1 to 130000");
}

}  // namespace
}  // namespace intaglio::test
