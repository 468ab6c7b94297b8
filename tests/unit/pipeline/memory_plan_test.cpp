#include "pipeline/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "core/memory_info.h"
#include "models/ideogram4/model_sizes.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/weight_streaming.h"
#include "models/qwen3/text_encoder.h"

namespace intaglio {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// A picture of 1024 x 1024 pixels with 512 tokens of text in 48 steps. Activations on a GPU, a little more than
//   4608 tokens x (4 width + (max(width, ffn) + 3 width + width) bf16) and int8 heads; three planes of the VAE's widest block.
MemoryNeeds full_size(Precision precision) {
  LayerSelection selection;
  selection.precision = precision;
  MemoryNeeds n;
  n.text = qwen3::text_encoder_weights(ideogram4::text_config(), selection);
  n.conditional = ideogram4::transformer_weights(ideogram4::transformer_config(), selection, true);
  n.unconditional =
      ideogram4::transformer_weights(ideogram4::transformer_config(), selection, false);
  n.vae_weights = vae_weight_bytes(ideogram4::vae_config(), DType::kBF16);
  n.text_scratch = 160 * kMiB;
  n.transformer_scratch = (precision == Precision::kInt8 ? 512 : 768) * kMiB;
  n.beside_scratch = n.transformer_scratch - 64 * kMiB;
  n.vae_scratch = 1664 * kMiB;
  n.features = uint64_t{512} * 53248 * 4;
  n.sessions = 320 * kMiB;
  n.records = true;
  return n;
}

TEST(MemoryPlan, WeightsOfIdeogram4) {
  const MemoryNeeds n = full_size(Precision::kInt8);
  ASSERT_EQ(n.conditional.layer_bytes.size(), 34u);
  // 12 width^2 + 3 width ffn values a layer, rounded up to granules.
  constexpr uint64_t kValues = 4 * 4608 * 4608 + 3 * 4608 * 12288;
  EXPECT_GE(n.conditional.largest_layer(), kValues);
  EXPECT_LE(n.conditional.largest_layer(), kValues + 4 * 2 * kMiB);
  const uint64_t one = n.conditional.fixed_bytes + n.conditional.all_layers();
  EXPECT_NEAR(static_cast<double>(one), 9.11e9, 0.1e9);
  // AdaLN: 4 width x 512 values a layer, bf16.
  ASSERT_EQ(n.conditional.once_bytes.size(), 34u);
  EXPECT_NEAR(static_cast<double>(n.conditional.largest_once()), 4.0 * 4608 * 512 * 2, 2.0 * kMiB);
  const ModelWeights on_cpu = weights_on_cpu(n.conditional);
  EXPECT_NEAR(static_cast<double>(on_cpu.fixed_bytes + on_cpu.all_layers()), 9.75e9, 0.1e9);
  // The text projection is the conditional transformer's alone.
  EXPECT_NEAR(static_cast<double>(n.conditional.fixed_bytes - n.unconditional.fixed_bytes),
              53248.0 * 4608, 4e6);
  EXPECT_EQ(n.text.layer_bytes.size(), 36u);
  EXPECT_NEAR(static_cast<double>(n.text.all_layers()), 13.9e9, 0.1e9);  // bf16
  EXPECT_NEAR(static_cast<double>(full_size(Precision::kBf16).conditional.all_layers()), 17.3e9,
              0.3e9);
  EXPECT_NEAR(static_cast<double>(vae_weight_bytes(ideogram4::vae_config(), DType::kBF16)), 0.12e9,
              0.02e9);
}

TEST(MemoryPlan, OnALargeCardEverythingStays) {
  const auto plan = plan_memory(full_size(Precision::kInt8), {.bytes = 79 * kGiB});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->keep_text);
  EXPECT_FALSE(plan->streams);
  EXPECT_NEAR(static_cast<double>(plan->pinned_bytes), 1.28e9, 0.15e9);  // AdaLN of both
  EXPECT_EQ(plan->conditional_budget, 0u);
  EXPECT_GT(plan->kept_scratch, 0u);
  EXPECT_LE(plan->peak_bytes(), 36 * kGiB);
}

TEST(MemoryPlan, WithoutBudgetInt8TakesLessThanTwentyGigabytes) {
  const auto plan = plan_memory(full_size(Precision::kInt8), {.bytes = 20'000'000'000});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(plan->keep_text);
  EXPECT_FALSE(plan->streams);
  EXPECT_LE(plan->peak_bytes(), 20'000'000'000u);
  EXPECT_GE(plan->peak_bytes(), 19'000'000'000u);
}

// What the phases have in common is counted in each: sessions and the one arena.
TEST(MemoryPlan, SessionsStayWhereThereIsRoom) {
  const MemoryNeeds n = full_size(Precision::kInt8);
  const auto tight = plan_memory(n, {.bytes = 20'000'000'000});
  ASSERT_TRUE(tight);
  const uint64_t weights = tight->transformer_bytes + n.vae_weights;
  const uint64_t kept = weights + n.sessions + n.vae_scratch;
  const auto with = plan_memory(n, {.bytes = kept + n.features});
  const auto without = plan_memory(n, {.bytes = kept + n.features - 1});
  ASSERT_TRUE(with && without);
  EXPECT_EQ(with->kept_scratch, n.vae_scratch);
  EXPECT_EQ(with->beside_scratch, n.beside_scratch);  // in what the VAE leaves
  EXPECT_EQ(with->decode_phase, kept);
  EXPECT_EQ(with->prepare_phase, kept + n.features);
  EXPECT_EQ(without->kept_scratch, 0u);
  EXPECT_EQ(without->decode_phase, weights + n.vae_scratch);
  EXPECT_EQ(without->prepare_phase, weights + n.features + n.sessions + n.transformer_scratch);
}

TEST(MemoryPlan, WithoutBudgetNothingStreams) {
  const auto plan = plan_memory(full_size(Precision::kInt8), {.bytes = 16 * kGiB});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(plan.error().message.find("16.0 GiB"), std::string::npos) << plan.error().message;
}

// Where both passes need more than the VAE, they run at the same time only if there is room for it.
TEST(MemoryPlan, PassesRunBesideEachOtherWhereThereIsRoom) {
  MemoryNeeds n = full_size(Precision::kInt8);
  n.transformer_scratch = 1500 * kMiB;
  n.beside_scratch = 1400 * kMiB;
  const auto large = plan_memory(n, {.bytes = 79 * kGiB});
  ASSERT_TRUE(large);
  EXPECT_EQ(large->kept_scratch, 2900 * kMiB);
  EXPECT_EQ(large->beside_scratch, n.beside_scratch);
  EXPECT_LE(large->peak_bytes(), 79 * kGiB);
  const uint64_t others = large->denoise_phase - large->kept_scratch + n.features;
  const auto tight = plan_memory(n, {.bytes = others + 2900 * kMiB - 1});
  ASSERT_TRUE(tight);
  EXPECT_EQ(tight->beside_scratch, 0u);
  EXPECT_EQ(tight->kept_scratch, n.vae_scratch);
}

TEST(MemoryPlan, TheLeastResidentBytesSufficeAndNoByteLess) {
  for (const Precision precision : {Precision::kInt8, Precision::kBf16}) {
    const MemoryNeeds n = full_size(precision);
    const uint64_t least = least_resident_bytes(n);
    EXPECT_TRUE(plan_memory(n, {.bytes = least}));
    EXPECT_FALSE(plan_memory(n, {.bytes = least - 1}));
  }
}

// What the loader makes of the budgets is what the plan counts.
void expect_honest(const MemoryNeeds& n, const MemoryPlan& plan, uint64_t budget) {
  const StreamingChoice c = choose_streamed(n.conditional.layer_bytes, plan.conditional_budget);
  const StreamingChoice u = choose_streamed(n.unconditional.layer_bytes, plan.unconditional_budget);
  const uint64_t weights = n.conditional.fixed_bytes + n.unconditional.fixed_bytes +
                           c.resident_bytes + u.resident_bytes + plan.slots * plan.slot_bytes;
  EXPECT_EQ(plan.transformer_bytes, weights);
  uint64_t pinned = c.streamed_bytes + u.streamed_bytes;
  for (const ModelWeights* weights_of : {&n.conditional, &n.unconditional})
    for (const uint64_t bytes : weights_of->once_bytes) pinned += bytes;
  EXPECT_EQ(plan.pinned_bytes, pinned);
  EXPECT_LE(plan.peak_bytes(), budget);
  EXPECT_LE(plan.transformer_bytes, plan.transformer_room);
  // Less than a layer of each is left unused.
  EXPECT_GE(plan.transformer_bytes + 2 * plan.slot_bytes, plan.transformer_room);
  // Both stream about as much: the passes of a step take turns.
  EXPECT_LE(std::max(c.count, u.count) - std::min(c.count, u.count), 1u);
}

TEST(MemoryPlan, SmallCardsStream) {
  uint64_t pinned = 0;
  for (const uint64_t gib : {16, 12, 8, 6}) {
    const MemoryNeeds n = full_size(Precision::kInt8);
    const auto plan = plan_memory(n, {.bytes = gib * kGiB, .stream = true});
    ASSERT_TRUE(plan) << gib << ": " << plan.error().message;
    EXPECT_FALSE(plan->keep_text);
    EXPECT_TRUE(plan->streams);
    EXPECT_EQ(plan->slots, 2u);
    EXPECT_GE(plan->slot_bytes, n.conditional.largest_layer());
    expect_honest(n, *plan, gib * kGiB);
    EXPECT_GT(plan->pinned_bytes, pinned);  // less memory, more to stream
    pinned = plan->pinned_bytes;
  }
}

TEST(MemoryPlan, OtherPrecisionsStreamToo) {
  for (const Precision precision : {Precision::kBf16, Precision::kInt8Dequant}) {
    const MemoryNeeds n = full_size(precision);
    for (const uint64_t gib : {24, 12, 8}) {
      const auto plan = plan_memory(n, {.bytes = gib * kGiB, .stream = true});
      ASSERT_TRUE(plan) << gib << ": " << plan.error().message;
      if (plan->streams) expect_honest(n, *plan, gib * kGiB);
    }
  }
}

TEST(MemoryPlan, ABudgetThatHoldsEverythingStreamsNothing) {
  const auto plan = plan_memory(full_size(Precision::kInt8), {.bytes = 24 * kGiB, .stream = true});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_FALSE(plan->streams);
  EXPECT_FALSE(plan->keep_text);
}

TEST(MemoryPlan, ABudgetBelowSlotsAndActivationsIsRefusedWithNumbers) {
  const MemoryNeeds n = full_size(Precision::kInt8);
  const auto plan = plan_memory(n, {.bytes = 2 * kGiB, .stream = true});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kOutOfMemory);
  const std::string& message = plan.error().message;
  EXPECT_NE(message.find("2.0 GiB (2147483648 bytes) is available"), std::string::npos) << message;
  EXPECT_NE(message.find("2 slots of"), std::string::npos) << message;
  // What it asks for is enough, and no byte less.
  const size_t open = message.find('(');
  const uint64_t least = std::stoull(message.substr(open + 1));
  EXPECT_TRUE(plan_memory(n, {.bytes = least, .stream = true}));
  EXPECT_FALSE(plan_memory(n, {.bytes = least - 1, .stream = true}));
}

TEST(MemoryPlan, TheTextEncoderMayKeepAFewLayers) {
  const ModelWeights text = full_size(Precision::kInt8).text;
  const uint64_t all = text.fixed_bytes + text.all_layers() + text.staging_bytes;
  EXPECT_EQ(text_weight_budget(text, all, false).value(), 0u);
  EXPECT_FALSE(text_weight_budget(text, all - 1, false));
  const uint64_t least = text.fixed_bytes + text.largest_layer() + text.staging_bytes;
  EXPECT_EQ(text_weight_budget(text, all - 1, true).value(), all - 1 - least);
  EXPECT_EQ(text_weight_budget(text, least, true).value(), 1u);
  EXPECT_FALSE(text_weight_budget(text, least - 1, true));
}

ideogram4::TransformerConfig small_config() {
  ideogram4::TransformerConfig c;
  c.layers = 3;
  c.heads = 2;
  c.head_dim = 64;
  c.intermediate = 208;
  c.adaln_dim = 64;
  c.channels = 16;
  c.text_dim = 96;
  c.mrope_section = {12, 10, 10};
  c.rope_theta = 5e6;
  c.norm_eps = 1e-5f;
  return c;
}

// What is described is what is loaded.
TEST(MemoryPlan, ActivationsAreThoseOfTheLoadedModels) {
  Context context;
  context.cpu = *selected_cpu_features();
  Arena arena;
  context.scratch = &arena;
  for (const Precision precision :
       {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
    LayerSelection selection;
    selection.precision = precision;
    const auto described =
        ideogram4::Transformer::describe(context, small_config(), {.selection = selection});
    const auto loaded =
        ideogram4::Transformer::synthetic(context, small_config(), {.selection = selection}, 1);
    ASSERT_TRUE(described && loaded);
    EXPECT_EQ(described->scratch_bytes(context, 7, 4, 6, 5),
              loaded->scratch_bytes(context, 7, 4, 6, 5))
        << precision_name(precision);
    EXPECT_EQ(described->weight_bytes(), 0u);
  }
}

TEST(MemoryPlan, NeedsOfAPictureGrowWithIt) {
  Context context;
  context.cpu = *selected_cpu_features();
  const PlannedModels models{
      small_config(), small_config(), ideogram4::text_config(), ideogram4::vae_config(), {}};
  const auto small =
      picture_needs(context, models, {.text_tokens = 8, .grid_h = 8, .grid_w = 8, .steps = 4});
  const auto large =
      picture_needs(context, models, {.text_tokens = 64, .grid_h = 16, .grid_w = 16, .steps = 48});
  ASSERT_TRUE(small && large);
  EXPECT_GT(large->transformer_scratch, small->transformer_scratch);
  EXPECT_GT(large->sessions, small->sessions);
  EXPECT_EQ(large->features, 8 * small->features);
  const auto absurd = picture_needs(
      context, models, {.text_tokens = 8, .grid_h = 1 << 16, .grid_w = 1 << 16, .steps = 4});
  ASSERT_FALSE(absurd);
  EXPECT_EQ(absurd.error().code, ErrorCode::kOutOfMemory);
}

// Deeper, wider inside and with other heads than small_config, so that its passes take more of everything.
ideogram4::TransformerConfig larger_config() {
  ideogram4::TransformerConfig c = small_config();
  c.layers = 5;
  c.heads = 3;
  c.intermediate = 448;
  c.adaln_dim = 96;
  return c;
}

Context cpu_context() {
  Context context;
  context.cpu = *selected_cpu_features();
  return context;
}

constexpr PlannedPicture kSmallPicture{.text_tokens = 7, .grid_h = 4, .grid_w = 6, .steps = 5};

Expected<MemoryNeeds> needs_of(const Context& context,
                               const ideogram4::TransformerConfig& conditional,
                               const std::optional<ideogram4::TransformerConfig>& unconditional,
                               const LayerSelection& selection) {
  return picture_needs(
      context,
      {conditional, unconditional, ideogram4::text_config(), ideogram4::vae_config(), selection},
      kSmallPicture);
}

uint64_t weights_of(const ModelWeights& w) { return w.fixed_bytes + w.all_layers(); }

// What a pass of `config` really takes of the arena, run with random weights.
size_t arena_peak_of(const ideogram4::TransformerConfig& config, const LayerSelection& selection,
                     bool with_text, size_t planned) {
  Context context = cpu_context();
  Arena arena = *Arena::with_capacity(planned);
  context.scratch = &arena;
  const auto model = ideogram4::Transformer::synthetic(
      context, config, {.selection = selection, .with_text = with_text}, 1);
  const int64_t text_tokens = with_text ? kSmallPicture.text_tokens : 0;
  const std::vector<float> features(static_cast<size_t>(text_tokens * config.text_dim), 0.5f);
  const std::vector<float> times(static_cast<size_t>(kSmallPicture.steps), 0.5f);
  auto session = model->prepare(context, {.tokens = text_tokens, .features = features.data()},
                                kSmallPicture.grid_h, kSmallPicture.grid_w, times);
  EXPECT_TRUE(session) << session.error().message;
  if (!session) return SIZE_MAX;
  const auto values =
      static_cast<size_t>(kSmallPicture.grid_h * kSmallPicture.grid_w * config.channels);
  const std::vector<float> latents(values, 0.25f);
  std::vector<float> velocity(values);
  EXPECT_TRUE(model->select_step(context, *session, 0));
  const Status done = model->forward(context, *session, latents.data(), velocity.data());
  EXPECT_TRUE(done) << done.error().message;
  return arena.peak();
}

TEST(MemoryPlan, EachTransformerIsPlannedFromItsOwnConfig) {
  const Context context = cpu_context();
  for (const Precision precision :
       {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
    LayerSelection selection;
    selection.precision = precision;
    for (const bool conditional_is_larger : {false, true}) {
      const ideogram4::TransformerConfig c =
          conditional_is_larger ? larger_config() : small_config();
      const ideogram4::TransformerConfig u =
          conditional_is_larger ? small_config() : larger_config();
      const auto needs = needs_of(context, c, u, selection);
      ASSERT_TRUE(needs) << needs.error().message;
      const auto own = [&](const ideogram4::TransformerConfig& config, bool with_text) {
        return weights_of(
            weights_on_cpu(ideogram4::transformer_weights(config, selection, with_text)));
      };
      EXPECT_EQ(weights_of(needs->conditional), own(c, true)) << precision_name(precision);
      EXPECT_EQ(weights_of(needs->unconditional), own(u, false)) << precision_name(precision);

      const auto text = ideogram4::Transformer::describe(context, c, {.selection = selection});
      const auto none = ideogram4::Transformer::describe(
          context, u, {.selection = selection, .with_text = false});
      ASSERT_TRUE(text && none);
      const auto& p = kSmallPicture;
      EXPECT_GE(needs->sessions,
                text->session_bytes(p.text_tokens, p.grid_h, p.grid_w, p.steps) +
                    none->session_bytes(0, p.grid_h, p.grid_w, p.steps) +
                    3 * sizeof(float) * static_cast<uint64_t>(p.grid_h * p.grid_w * c.channels));
      const size_t with_text =
          text->scratch_bytes(context, p.text_tokens, p.grid_h, p.grid_w, p.steps);
      const size_t without = none->scratch_bytes(context, 0, p.grid_h, p.grid_w, p.steps);
      EXPECT_GE(needs->transformer_scratch, std::max(with_text, without));
      EXPECT_LE(arena_peak_of(c, selection, true, with_text), with_text);
      EXPECT_LE(arena_peak_of(u, selection, false, without), without);
    }
  }
}

// The weights a GPU holds, at its precisions too.
TEST(MemoryPlan, UnequalTransformersShareACard) {
  for (const Precision precision : {Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant,
                                    Precision::kFp8, Precision::kNf4}) {
    for (const bool conditional_is_larger : {false, true}) {
      MemoryNeeds n = full_size(precision);
      ideogram4::TransformerConfig other = ideogram4::transformer_config();
      other.layers = 48;
      other.intermediate = 15360;
      LayerSelection selection;
      selection.precision = precision;
      (conditional_is_larger ? n.conditional : n.unconditional) =
          ideogram4::transformer_weights(other, selection, conditional_is_larger);
      const uint64_t least = least_resident_bytes(n);
      const auto resident = plan_memory(n, {.bytes = least});
      ASSERT_TRUE(resident) << resident.error().message;
      EXPECT_GE(resident->transformer_bytes,
                weights_of(n.conditional) + weights_of(n.unconditional));
      EXPECT_FALSE(plan_memory(n, {.bytes = least - 1}));
      const auto streamed = plan_memory(n, {.bytes = 8 * kGiB, .stream = true});
      ASSERT_TRUE(streamed) << streamed.error().message;
      EXPECT_GE(streamed->slot_bytes,
                std::max(n.conditional.largest_layer(), n.unconditional.largest_layer()));
      const StreamingChoice c =
          choose_streamed(n.conditional.layer_bytes, streamed->conditional_budget);
      const StreamingChoice u =
          choose_streamed(n.unconditional.layer_bytes, streamed->unconditional_budget);
      EXPECT_EQ(streamed->transformer_bytes,
                n.conditional.fixed_bytes + n.unconditional.fixed_bytes + c.resident_bytes +
                    u.resident_bytes + streamed->slots * streamed->slot_bytes);
      EXPECT_LE(streamed->peak_bytes(), 8 * kGiB);
    }
  }
}

// Guidance 1 everywhere, or a model of one branch.
TEST(MemoryPlan, APictureOfOneBranchTakesNothingForTheOther) {
  const Context context = cpu_context();
  const auto both = needs_of(context, small_config(), larger_config(), {});
  const auto one = needs_of(context, small_config(), std::nullopt, {});
  ASSERT_TRUE(both && one);
  EXPECT_TRUE(both->has_unconditional);
  EXPECT_FALSE(one->has_unconditional);
  EXPECT_EQ(weights_of(one->unconditional), 0u);
  EXPECT_EQ(one->beside_scratch, 0u);
  EXPECT_EQ(weights_of(one->conditional), weights_of(both->conditional));
  EXPECT_LT(one->sessions, both->sessions);

  MemoryNeeds n = full_size(Precision::kInt8);
  const auto guided = plan_memory(n, {.bytes = 79 * kGiB});
  n.unconditional = {};
  n.beside_scratch = 0;
  n.has_unconditional = false;
  const auto plain = plan_memory(n, {.bytes = 79 * kGiB});
  ASSERT_TRUE(guided && plain);
  EXPECT_TRUE(guided->has_unconditional);
  EXPECT_FALSE(plain->has_unconditional);
  EXPECT_EQ(plain->beside_scratch, 0u);
  EXPECT_NEAR(static_cast<double>(plain->transformer_bytes),
              0.5 * static_cast<double>(guided->transformer_bytes), 0.3e9);
  // It streams by itself as well.
  const auto streamed = plan_memory(n, {.bytes = 4 * kGiB, .stream = true});
  ASSERT_TRUE(streamed) << streamed.error().message;
  const StreamingChoice c =
      choose_streamed(n.conditional.layer_bytes, streamed->conditional_budget);
  EXPECT_EQ(streamed->transformer_bytes,
            n.conditional.fixed_bytes + c.resident_bytes + streamed->slots * streamed->slot_bytes);
  EXPECT_EQ(streamed->streamed_bytes, c.streamed_bytes);
}

}  // namespace
}  // namespace intaglio
