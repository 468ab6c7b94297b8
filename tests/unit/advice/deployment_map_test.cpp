#include "advice/deployment_map.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "advice/cost_model.h"
#include "core/files.h"
#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

constexpr const char* kText = R"({"card": "Card 1", "kernels": "mma.sync", "results": [
  {"precision": "int8", "width": 512, "height": 512, "text_tokens": 512, "image_tokens": 1024,
   "conditional": {"median_ms": 30.0}, "unconditional": {"median_ms": 20.0}, "resident_bytes": 19000000000},
  {"precision": "bf16", "width": 512, "height": 512, "text_tokens": 512, "image_tokens": 1024,
   "conditional": {"median_ms": 12.0}, "unconditional": {"median_ms": 8.0}, "resident_bytes": 37000000000},
  {"precision": "int8", "width": 1024, "height": 1024, "text_tokens": 512, "image_tokens": 4096,
   "conditional": {"median_ms": 90.0}, "unconditional": {"median_ms": 80.0}, "resident_bytes": 20000000000},
  {"precision": "bf16", "width": 1024, "height": 1024, "text_tokens": 512, "image_tokens": 4096,
   "conditional": {"median_ms": 160.0}, "unconditional": {"median_ms": 140.0}, "resident_bytes": 38000000000}]})";

CudaDevice device(const char* name, int compute_capability) {
  CudaDevice gpu;
  gpu.name = name;
  gpu.compute_capability = compute_capability;
  gpu.multiprocessors = 82;
  gpu.memory_bytes = int64_t{24} << 30;
  return gpu;
}

const Model& full_size() {
  static const std::shared_ptr<const Model> model = synthetic_model("ideogram4").value();
  return *model;
}

PassShape pass_of(int64_t text_tokens, int64_t image_tokens) {
  const std::unique_ptr<Transformer> transformer = full_size().transformer(0, {});
  return {.width = transformer->width(),
          .linears = transformer->listed_linears(),
          .text_tokens = text_tokens,
          .image_tokens = image_tokens};
}

TEST(DeploymentMap, ReadsWhatWasMeasured) {
  const auto map = parse_deployment_map(kText, "map.json");
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_EQ(map->device, "Card 1");
  ASSERT_EQ(map->entries.size(), 4u);
  EXPECT_EQ(map->entries[2].image_tokens, 4096);
  EXPECT_EQ(map->entries[3].step_ms(), 300.0);
  EXPECT_EQ(map->entries[0].resident_bytes, 19000000000u);
}

TEST(DeploymentMap, RefusesWhatIsNoMap) {
  for (const char* text : {"", "[]", "{}", R"({"card": 1, "kernels": "", "results": []})",
                           R"({"card": "", "kernels": "", "results": [{"precision": "int3"}]})",
                           R"({"card": "", "kernels": "", "results": [{"precision": "int8"}]})"}) {
    const auto map = parse_deployment_map(text, "map.json");
    ASSERT_FALSE(map) << text;
    EXPECT_EQ(map.error().code, ErrorCode::kBadFormat);
    EXPECT_NE(map.error().message.find("map.json"), std::string::npos) << map.error().message;
  }
}

// The measured entries of the nearest size decide, whatever the model would say; precisions without
// a measurement come after them.
TEST(DeploymentMap, RanksByTheNearestMeasuredSize) {
  const auto map = parse_deployment_map(kText, "map.json");
  ASSERT_TRUE(map);
  const CudaDevice gpu = device("Card 1", 86);
  Context context;
  context.gpu = &gpu;
  const auto small = rank_precisions(context, full_size(), {100, 1100}, *map);
  const auto large = rank_precisions(context, full_size(), {512, 6000}, *map);
  ASSERT_GE(small.size(), 3u);
  EXPECT_EQ(small[0].precision, Precision::kBf16);
  EXPECT_EQ(small[0].step_ms, 20.0);
  EXPECT_EQ(small[1].precision, Precision::kInt8);
  EXPECT_EQ(large[0].precision, Precision::kInt8);
  EXPECT_EQ(large[0].step_ms, 170.0);
  EXPECT_TRUE(large[1].measured);
  EXPECT_FALSE(large[2].measured);
  EXPECT_EQ(large.back().precision, Precision::kFp32);
  // Half of the passes with the text and a quarter of the others, of 90 and 80 ms.
  const auto masked =
      rank_precisions(context, full_size(), {512, 6000, /*first=*/0.5, /*other=*/0.25}, *map);
  EXPECT_EQ(masked[0].precision, Precision::kInt8);
  EXPECT_DOUBLE_EQ(masked[0].step_ms, 65.0);
}

TEST(DeploymentMap, AStepComputesWhatTheMaskLeavesOfIt) {
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}, {.transformer = 1}}};
  sampling.steps.assign(4, {.weights = {1.0f, 0.5f}});
  sampling.steps[3].weights[1] = 0.0f;  // unguided
  const std::vector<int64_t> blocks{4, 2};
  const StepShape whole = step_shape(sampling, blocks);
  EXPECT_EQ(whole.first, 1.0);
  EXPECT_EQ(whole.other, 0.75);
  EXPECT_EQ(whole.both, 0.75);
  sampling.mask = {.passes = {parse_pass_work("X.rX").value(), parse_pass_work("XrX.").value()}};
  const StepShape masked = step_shape(sampling, blocks);
  EXPECT_DOUBLE_EQ(masked.first, (2.0 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(masked.other, (2.0 + 0.5) / 4);
  EXPECT_DOUBLE_EQ(masked.both, (1.0 + 0.25) / 4);  // the first step, a reused pass of the third
}

TEST(DeploymentMap, WithoutAMapTheModelRanks) {
  const CudaDevice gpu = device("NVIDIA GeForce RTX 3090", 86);
  Context context;
  context.gpu = &gpu;
  const auto ranked = rank_precisions(context, full_size(), {512, 4096}, std::nullopt);
  EXPECT_EQ(ranked.front().precision, Precision::kInt8);
  EXPECT_FALSE(ranked.front().measured);
  for (size_t i = 1; i + 1 < ranked.size(); ++i)
    EXPECT_GE(ranked[i].step_ms, ranked[i - 1].step_ms);
  for (const RankedPrecision& r : ranked) EXPECT_NE(r.precision, Precision::kFp8);  // no product
  // A step is its passes.
  const auto first = rank_precisions(context, full_size(), {512, 4096, 1.0, 0.0}, std::nullopt);
  const auto other = rank_precisions(context, full_size(), {512, 4096, 0.0, 1.0}, std::nullopt);
  EXPECT_GT(first.front().step_ms, other.front().step_ms);  // reads no text
  EXPECT_DOUBLE_EQ(first.front().step_ms + other.front().step_ms, ranked.front().step_ms);
  context.gpu = nullptr;
  EXPECT_EQ(rank_precisions(context, full_size(), {512, 4096}, std::nullopt).front().precision,
            Precision::kInt8);
}

// The model holds against every map that was measured: what it says is within a quarter of each
// pass.
TEST(CostModel, AgreesWithEveryMeasuredPass) {
  int passes = 0;
  for (const auto& item : std::filesystem::directory_iterator(test::source_path("bench/results"))) {
    const std::string name = item.path().filename().string();
    if (!name.starts_with("map_")) continue;
    const auto text = read_file(item.path());
    ASSERT_TRUE(text);
    const auto map = parse_deployment_map(*text, name);
    ASSERT_TRUE(map) << map.error().message;
    CardRates card = card_rates(device(map->device.c_str(), 90));
    if (map->kernels == "mma.sync") card = without_wgmma(card);
    for (const MapEntry& e : map->entries) {
      for (const bool with_text : {true, false}) {
        const int64_t tokens = e.image_tokens + (with_text ? e.text_tokens : 0);
        const auto pass = modelled_pass(
            card, pass_of(with_text ? e.text_tokens : 0, e.image_tokens), e.precision);
        ASSERT_TRUE(pass) << name;
        const double ratio = pass->total_ms() / (with_text ? e.conditional_ms : e.unconditional_ms);
        EXPECT_GT(ratio, 0.75) << name << " " << precision_name(e.precision) << " " << tokens;
        EXPECT_LT(ratio, 1.25) << name << " " << precision_name(e.precision) << " " << tokens;
        ++passes;
      }
    }
  }
  EXPECT_GE(passes, 60);
}

TEST(CostModel, LargerPassesCostMoreAndFasterCardsLess) {
  const CardRates slow = card_rates(device("NVIDIA GeForce RTX 3060", 86));
  const CardRates fast = card_rates(device("NVIDIA GeForce RTX 4090", 89));
  for (const Precision p : {Precision::kInt8, Precision::kBf16, Precision::kNf4}) {
    const double one = modelled_pass(slow, pass_of(0, 4096), p)->total_ms();
    EXPECT_GT(modelled_pass(slow, pass_of(0, 8192), p)->total_ms(), 2.0 * one * 0.9);
    EXPECT_LT(modelled_pass(fast, pass_of(0, 4096), p)->total_ms(), one / 3.0);
  }
  EXPECT_FALSE(modelled_pass(fast, pass_of(0, 4096), Precision::kFp8));
}

// A card that nobody listed gets the rates of its generation.
TEST(CostModel, UnknownCardsAreScaledFromTheirGeneration) {
  const CardRates card = card_rates(device("NVIDIA GeForce Something 1", 86));
  EXPECT_EQ(card.multiprocessors, 82);
  EXPECT_NEAR(card.s8_tops, 284.0, 10.0);  // an RTX 3090 has as many multiprocessors
  EXPECT_NEAR(card.bf16_tflops, 71.0, 3.0);
  // Cards that are no GeForce do not halve products with float sums; those before Ampere have none
  // of bf16, which then runs as float32 does.
  EXPECT_NEAR(card_rates(device("NVIDIA Something 1", 86)).bf16_tflops, 142.0, 6.0);
  const CardRates turing = card_rates(device("Tesla T4", 75));
  EXPECT_EQ(turing.s8_tops, 130.0);
  EXPECT_NEAR(turing.bf16_lt_tflops, 8.1, 0.1);
}

TEST(CostModel, ShowsCardsOfTheTable) {
  EXPECT_EQ(known_cards().size(), 8u);
  for (const CardRates& card : known_cards()) {
    const CardRates same = card_rates(device(std::string(card.name).c_str(), 0));
    EXPECT_EQ(same.name, card.name);
    EXPECT_GT(card.s8_tops * card.bf16_lt_tflops * card.memory_gb_s * card.host_gb_s, 0.0);
  }
}

}  // namespace
}  // namespace intaglio
