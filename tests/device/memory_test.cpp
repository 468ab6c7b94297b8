// What the memory plan says, phase by phase, against what a pipeline takes of the device double,
// with transformers of different sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "device/double/device_double.h"
#include "device/written_model.h"
#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

using test::DeviceDouble;

constexpr uint64_t kMiB = uint64_t{1} << 20;
// What the plan leaves out, with layers of some MB: scales and AdaLN weights on their way in; the
// last granules of both slots and of the one arena. The VAE is not there yet when the transformers
// of the first picture are loaded.
constexpr uint64_t kSmallBlocks = kMiB / 2, kRounding = 3 * 2 * kMiB + kSmallBlocks;

DeviceDouble& device() { return DeviceDouble::instance(); }

// Peaks of the device's memory by phase of the plan, of the picture at work.
struct Peaks {
  std::map<std::string, uint64_t> bytes;
  std::string phase;

  void begin(const std::string& next) {
    end();
    phase = next;
    device().restart_peaks();
  }
  void end() {
    if (!phase.empty()) bytes[phase] = std::max(bytes[phase], device().device().peak);
  }
  void clear() {
    bytes.clear();
    phase.clear();
  }
};
Peaks& peaks() {
  static Peaks p;
  return p;
}

void on_load(const std::string& what) {
  if (what == "vae") peaks().begin("decode");
  if (what == "conditional" || what == "unconditional") peaks().begin("load");
  if (what.empty() && peaks().phase == "load") peaks().begin("prepare");
}

const std::shared_ptr<const Model>& model_of(bool swapped) {
  static const std::shared_ptr<const Model> models[] = {
      test::written_model(test::planned_sizes(false), on_load),
      test::written_model(test::planned_sizes(true), on_load)};
  return models[swapped ? 1 : 0];
}

PictureRequest request_of(int32_t first_id) {
  PictureRequest r;
  r.token_ids = std::vector<int32_t>{first_id, 17, 3, 99, 42, 8};
  r.width = r.height = 16;
  r.steps = 1;
  r.guidance = {3.0f};
  return r;
}

void draw(Pipeline& pipeline, int32_t first_id) {
  peaks().clear();
  peaks().begin("text");
  const auto drawn = pipeline.generate(
      request_of(first_id),
      [](const PictureProgress& p) {
        if (p.phase == Phase::kLoadTransformers) peaks().begin("prepare");
        if (p.phase == Phase::kDenoise && p.done == 0) peaks().begin("denoise");
        if (p.phase == Phase::kDecode && p.done == 1) peaks().begin("decode");
      },
      nullptr);
  peaks().end();
  ASSERT_TRUE(drawn) << drawn.error().message;
}

struct Planned {
  MemoryNeeds needs;
  MemoryPlan plan;
};
Expected<Planned> plan_of(const Pipeline& pipeline, const Model& model,
                          const LayerSelection& selection, const MemoryLimits& limits) {
  Planned p;
  INTAGLIO_ASSIGN(p.needs, guided_picture_needs(pipeline.context(), model, {.selection = selection},
                                                {.text_tokens = 6, .grid_h = 4, .grid_w = 4}, 1));
  INTAGLIO_ASSIGN(p.plan, plan_memory(p.needs, limits));
  return p;
}

class DeviceMemory : public testing::TestWithParam<std::tuple<Precision, bool>> {
 protected:
  void SetUp() override { restart(uint64_t{8} << 30); }
  void TearDown() override { restart(uint64_t{8} << 30); }
  static void restart(uint64_t capacity) {
    device().set_computing(false);
    device().set_capacity(capacity);
  }
  Precision precision() const { return std::get<0>(GetParam()); }
  test::WrittenSizes sizes() const { return test::planned_sizes(std::get<1>(GetParam())); }
  const Model& model() const { return *model_of(std::get<1>(GetParam())); }
  LayerSelection selection() const { return {.precision = precision(), .keep_bf16 = {}}; }
  Expected<std::unique_ptr<Pipeline>> open(uint64_t memory_limit, uint64_t vram_budget) const {
    PipelineOptions options{.selection = selection(), .gpu = 0};
    options.threads = 1;
    options.memory_limit = memory_limit;
    options.vram_budget = vram_budget;
    return Pipeline::open(model_of(std::get<1>(GetParam())), options);
  }
};

// Of the largest tensor of a layer, by the model that is loaded last.
uint64_t tensor_elements(const ideogram4::TransformerConfig& c) {
  return static_cast<uint64_t>(c.intermediate * c.width());
}

// Bytes by which the plan's loading phase may exceed what is taken:
//   the plan counts 5 bytes an element of the largest tensor of both transformers, whichever is
//   loaded last; what is really staged is that of the last one,
//   as it lies in the file (F32) with its int8 form, as bf16 for NF4, and nothing for float
//   weights, which the host converts;
//   the last linear of the last layer comes after the largest one, whose staging is gone by then;
//   a granule and small change.
uint64_t loading_slack(Precision precision, const test::WrittenSizes& sizes) {
  const uint64_t largest =
      std::max(tensor_elements(sizes.conditional), tensor_elements(sizes.unconditional));
  const uint64_t last = tensor_elements(sizes.unconditional);
  const bool is_int8 = precision == Precision::kInt8 || precision == Precision::kInt8Dequant;
  const uint64_t staged = is_int8 ? 5 : precision == Precision::kNf4 ? 2 : 0;
  const uint64_t element = precision == Precision::kFp32   ? 4
                           : precision == Precision::kBf16 ? 2
                                                           : 1;
  return 5 * largest - staged * last + element * last + kMiB;
}

// Everything stays on the device: each phase takes what is planned for it, and not much less.
TEST_P(DeviceMemory, ResidentPhasesTakeWhatIsPlanned) {
  const uint64_t limit = uint64_t{4} << 30;
  auto pipeline = open(limit, 0);
  ASSERT_TRUE(pipeline);
  const auto planned = plan_of(**pipeline, model(), selection(), {.bytes = limit});
  ASSERT_TRUE(planned) << planned.error().message;
  const MemoryPlan& plan = planned->plan;
  ASSERT_TRUE(plan.keep_text);
  ASSERT_GT(plan.beside_scratch, 0u);

  ASSERT_NO_FATAL_FAILURE(draw(**pipeline, 1));
  auto taken = peaks().bytes;
  EXPECT_LE(taken["text"], plan.text_phase);
  EXPECT_LE(taken["load"], plan.load_phase - planned->needs.vae_weights + kSmallBlocks);
  EXPECT_GE(taken["load"] + loading_slack(precision(), sizes()) + planned->needs.features +
                planned->needs.vae_weights,
            plan.load_phase);
  EXPECT_LE(taken["prepare"], plan.prepare_phase);
  EXPECT_LE(taken["denoise"], plan.denoise_phase);
  EXPECT_LE(taken["decode"], plan.decode_phase);
  EXPECT_EQ(device().pinned().peak, plan.pinned_bytes);

  // Now all is loaded. The sessions' blocks are counted as if each were rounded up by a granule.
  ASSERT_NO_FATAL_FAILURE(draw(**pipeline, 2));
  taken = peaks().bytes;
  ASSERT_EQ(taken.count("load"), 0u);
  const uint64_t slack = planned->needs.sessions + planned->needs.vae_weights;
  const std::pair<const char*, uint64_t> phases[] = {{"text", plan.text_phase},
                                                     {"prepare", plan.prepare_phase},
                                                     {"denoise", plan.denoise_phase},
                                                     {"decode", plan.decode_phase}};
  for (const auto& [phase, bytes] : phases) {
    EXPECT_LE(taken[phase], bytes) << phase;
    EXPECT_GE(taken[phase] + slack, bytes) << phase;
  }
}

// The smallest card that the plan accepts without streaming draws picture after picture, and a byte
// less is refused before anything is allocated.
TEST_P(DeviceMemory, TheSmallestCardDraws) {
  uint64_t least = 0;
  {
    auto pipeline = open(uint64_t{4} << 30, 0);
    ASSERT_TRUE(pipeline);
    const auto planned = plan_of(**pipeline, model(), selection(), {.bytes = uint64_t{4} << 30});
    ASSERT_TRUE(planned);
    least = least_resident_bytes(planned->needs);
  }
  auto refused = open(least - 1, 0);
  ASSERT_TRUE(refused);
  const int64_t calls = device().calls();
  const auto drawn = (*refused)->generate(request_of(1), {}, nullptr);
  ASSERT_FALSE(drawn);
  EXPECT_EQ(drawn.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(device().calls(), calls);
  EXPECT_EQ(device().device().now, 0u);

  device().set_capacity(least);
  {
    auto pipeline = open(least, 0);
    ASSERT_TRUE(pipeline);
    for (int32_t id = 1; id <= 3; ++id) ASSERT_NO_FATAL_FAILURE(draw(**pipeline, id));
  }
}

// Cards of every size between the one on which everything streams and the one on which nothing has
// to.
TEST_P(DeviceMemory, SmallerCardsStreamWhatDoesNotFit) {
  uint64_t least = 0, most = 0;
  {
    auto pipeline = open(uint64_t{4} << 30, 1);
    ASSERT_TRUE(pipeline);
    const auto plan = (*pipeline)->plan(request_of(1));
    ASSERT_FALSE(plan);
    const std::string& message = plan.error().message;
    least = std::stoull(message.substr(message.find('(') + 1));
    const auto planned = plan_of(**pipeline, model(), selection(), {.bytes = uint64_t{4} << 30});
    ASSERT_TRUE(planned);
    most = least_resident_bytes(planned->needs);
  }
  ASSERT_LT(least, most);
  int64_t streamed = 3 + 5 + 1;
  constexpr uint64_t kCards = 4;
  for (uint64_t i = 0; i <= kCards; ++i) {
    const uint64_t budget = least + (most - least) * i / kCards;
    SCOPED_TRACE(budget);
    restart(budget);
    auto pipeline = open(uint64_t{4} << 30, budget);
    ASSERT_TRUE(pipeline);
    const auto planned =
        plan_of(**pipeline, model(), selection(), {.bytes = budget, .stream = true});
    ASSERT_TRUE(planned) << planned.error().message;
    const MemoryPlan& plan = planned->plan;
    ASSERT_NO_FATAL_FAILURE(draw(**pipeline, 1));
    auto taken = peaks().bytes;
    EXPECT_EQ(device().pinned().peak, plan.pinned_bytes);
    // Linears of a streamed layer are made on the device one at a time, the plan counts all four.
    const uint64_t layer = std::max(planned->needs.transformers[0]->largest_layer(),
                                    planned->needs.transformers[1]->largest_layer());
    EXPECT_LE(taken["load"], plan.load_phase - planned->needs.vae_weights + kSmallBlocks);
    EXPECT_GE(taken["load"] + loading_slack(precision(), sizes()) + planned->needs.features +
                  planned->needs.vae_weights + (plan.streams ? layer : 0),
              plan.load_phase);
    EXPECT_LE(taken["prepare"], plan.prepare_phase);
    EXPECT_LE(taken["denoise"], plan.denoise_phase);
    ASSERT_NO_FATAL_FAILURE(draw(**pipeline, 2));
    EXPECT_LE(peaks().bytes["decode"], plan.decode_phase + kRounding);
    const auto last = (*pipeline)->generate(request_of(2), {}, nullptr);
    ASSERT_TRUE(last) << last.error().message;
    EXPECT_LE(last->streamed_layers, streamed);  // more memory, no more layers
    streamed = last->streamed_layers;
    if (i == 0) {
      EXPECT_EQ(streamed, 3 + 5);
    }
    EXPECT_EQ(streamed > 0, plan.streams);
  }
  EXPECT_EQ(streamed, 0);
}

INSTANTIATE_TEST_SUITE_P(Precisions, DeviceMemory,
                         testing::Combine(testing::Values(Precision::kFp32, Precision::kBf16,
                                                          Precision::kInt8, Precision::kInt8Dequant,
                                                          Precision::kNf4),
                                          testing::Bool()),
                         [](const auto& info) {
                           std::string name(precision_name(std::get<0>(info.param)));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name + (std::get<1>(info.param) ? "_swapped" : "");
                         });

}  // namespace
}  // namespace intaglio
