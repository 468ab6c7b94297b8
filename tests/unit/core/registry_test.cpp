// The choice among an op's implementations: order, devices, and what a user is told when none
// serves.
#include "core/registry.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace intaglio {
namespace {

struct Desc {
  int size = 0;
};
struct Implementation {
  const char* name;
  DeviceKind device;
  Refusal (*can_run)(const Desc&, const Context&);
};

Refusal even_size(const Desc& d, const Context&) {
  return d.size % 2 == 0 ? nullptr : "the size is odd";
}
Refusal small_size(const Desc& d, const Context&) {
  return d.size < 100 ? nullptr : "the size is not below 100";
}
Refusal no_size(const Desc&, const Context&) { return "needs a newer instruction set"; }

constexpr std::array kList{
    Implementation{"secret_gpu_fast", DeviceKind::kGpu, even_size},
    Implementation{"secret_gpu_plain", DeviceKind::kGpu, small_size},
    Implementation{"secret_cpu_fast", DeviceKind::kCpu, no_size},
    Implementation{"secret_cpu_plain", DeviceKind::kCpu, small_size},
};

Expected<const Implementation*> choose_of(std::span<const Implementation> list,
                                          const Context& context, int size,
                                          int* described = nullptr) {
  return choose(OpName{"thing", "a thing"}, list, Desc{size}, context, [&](const Desc& d) {
    if (described != nullptr) ++*described;
    return fmt::format("size {}", d.size);
  });
}

TEST(Registry, TakesTheFirstThatAcceptsOnTheDevice) {
  const CudaDevice gpu{.ordinal = 1, .name = "Some GPU"};
  Context on_cpu, on_gpu;
  on_gpu.gpu = &gpu;
  int described = 0;
  EXPECT_STREQ((*choose_of(kList, on_gpu, 4, &described))->name, "secret_gpu_fast");
  EXPECT_STREQ((*choose_of(kList, on_gpu, 5, &described))->name, "secret_gpu_plain");
  EXPECT_STREQ((*choose_of(kList, on_cpu, 5, &described))->name, "secret_cpu_plain");
  EXPECT_EQ(described, 0);  // nobody reads it
}

TEST(Registry, AUserIsToldOfTheOpAndTheDeviceButOfNoImplementation) {
  const CudaDevice gpu{.ordinal = 1, .name = "Some GPU"};
  Context on_cpu, on_gpu;
  on_gpu.gpu = &gpu;
  const auto cpu = choose_of(kList, on_cpu, 101);
  const auto card = choose_of(kList, on_gpu, 101);
  const auto none = choose_of(std::span(kList).subspan(2), on_gpu, 3);
  ASSERT_FALSE(cpu || card || none);
  EXPECT_EQ(cpu.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(cpu.error().message,
            "a thing of size 101 cannot run on the CPU: the size is not below 100");
  EXPECT_EQ(card.error().message,
            "a thing of size 101 cannot run on cuda:1 (Some GPU): the size is not below 100");
  EXPECT_EQ(none.error().message,
            "a thing of size 3 cannot run on cuda:1 (Some GPU): this build has no code for the "
            "device");
}

TEST(Registry, ADecisionIsTracedOnce) {
  std::vector<std::string> lines;
  set_log_callback([&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  for (int i = 0; i < 3; ++i) {
    trace_decision("dispatch a test's op: one");
    trace_decision("dispatch a test's op: two");
  }
  set_log_callback({});
  EXPECT_EQ(lines,
            (std::vector<std::string>{"dispatch a test's op: one", "dispatch a test's op: two"}));
}

}  // namespace
}  // namespace intaglio
