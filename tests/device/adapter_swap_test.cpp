// Other adapters between pictures on the device double: what was recorded is recorded anew, and
// memory is what was planned.
#include <gtest/gtest.h>

#include <algorithm>

#include "device/double/device_double.h"
#include "device/written_model.h"
#include "support/adapter_swaps.h"

namespace intaglio {
namespace {

using test::AdapterSwaps;
using test::DeviceDouble;

PictureRequest request() {
  PictureRequest r;
  r.token_ids = std::vector<int32_t>{5, 17, 3, 99, 42, 8};
  r.width = r.height = 16;
  r.steps = 3;
  r.guidance = {3.0f, 3.0f, 1.0f};
  r.seed = 7;
  return r;
}

AdapterSwaps swaps_of(uint64_t vram_budget, std::vector<std::string>* loads) {
  const auto model = test::written_model(test::tiny_sizes(), [loads](const std::string& what) {
    if (loads != nullptr && !what.empty()) loads->push_back(what);
  });
  PipelineOptions options{.selection = {.precision = Precision::kInt8, .keep_bf16 = {}}, .gpu = 0};
  options.threads = 1;
  options.vram_budget = vram_budget;
  return {model, options, request()};
}

TEST(DeviceAdapterSwap, PicturesAreThoseOfAFreshPipeline) {
  DeviceDouble::instance().restart();
  AdapterSwaps swaps = swaps_of(0, nullptr);
  const AdapterUse a = swaps.low_rank("a", {.rank = 4});
  const AdapterUse b = swaps.low_rank("b", {.rank = 40, .seed = 7, .biases = true}, 0.7f);
  const AdapterUse c = swaps.low_rank("c", {.rank = 20, .seed = 9});
  const AdapterUse merged = swaps.difference("merged", 0.05f);
  swaps.expect_each({{}, {a}, {b}, {a, b}, {}, {merged}, {merged, a}, {merged, c}, {a}});
}

// No weight is read again for low rank; for another merged one both transformers are.
TEST(DeviceAdapterSwap, LowRankReadsNoWeight) {
  DeviceDouble::instance().restart();
  std::vector<std::string> loads;
  AdapterSwaps swaps = swaps_of(0, &loads);
  const AdapterUse a = swaps.low_rank("a", {.rank = 4});
  const AdapterUse b = swaps.low_rank("b", {.rank = 40, .seed = 7}, 0.7f);
  const AdapterUse merged = swaps.difference("merged", 0.05f);
  const auto pipeline = swaps.open({a});
  swaps.latents(*pipeline);
  loads.clear();
  for (const std::vector<AdapterUse>& uses : {std::vector<AdapterUse>{b}, {a, b}, {}, {a}}) {
    ASSERT_TRUE(pipeline->set_adapters(uses));
    swaps.latents(*pipeline);
  }
  EXPECT_EQ(std::count(loads.begin(), loads.end(), "conditional"), 0);
  EXPECT_EQ(std::count(loads.begin(), loads.end(), "unconditional"), 0);
  ASSERT_TRUE(pipeline->set_adapters({merged}));
  swaps.latents(*pipeline);
  EXPECT_EQ(std::count(loads.begin(), loads.end(), "conditional"), 1);
  EXPECT_EQ(std::count(loads.begin(), loads.end(), "unconditional"), 1);
}

// Branches that come are paid for by their plan, and those that go leave nothing.
TEST(DeviceAdapterSwap, MemoryIsThatOfAFreshPipeline) {
  DeviceDouble& device = DeviceDouble::instance();
  device.restart();
  AdapterSwaps swaps = swaps_of(0, nullptr);
  const AdapterUse large = swaps.low_rank("large", {.rank = 256, .seed = 3, .biases = true});
  const auto held = [&](const std::vector<std::vector<AdapterUse>>& sets) {
    const auto pipeline = swaps.open(sets.front());
    for (const std::vector<AdapterUse>& uses : sets) {
      EXPECT_TRUE(pipeline->set_adapters(uses));
      swaps.latents(*pipeline);
    }
    const auto plan = pipeline->plan(swaps.request());
    EXPECT_TRUE(plan);
    EXPECT_LE(device.device().now, plan->peak_bytes());
    return device.device().now;
  };
  const uint64_t plain = held({{}}), beside = held({{large}});
  EXPECT_GT(beside, plain);
  EXPECT_EQ(held({{large}, {}}), plain);
  EXPECT_EQ(held({{}, {large}}), beside);
  EXPECT_EQ(device.device().now, 0u);
}

}  // namespace
}  // namespace intaglio
