#include "pipeline/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "core/memory_info.h"
#include "models/ideogram4/model.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/weight_streaming.h"
#include "models/qwen3/text_encoder.h"
#include "models/registry.h"

namespace intaglio {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

ModelWeights transformer_weights(const ideogram4::TransformerConfig& config,
                                 const LayerSelection& selection, bool with_text) {
  return ideogram4::Transformer(config, {.selection = selection}, with_text).module_weights();
}

// The two transformers of a plan's needs.
const ModelWeights& conditional(const MemoryNeeds& n) { return *n.transformers[0]; }
const ModelWeights& unconditional(const MemoryNeeds& n) { return *n.transformers[1]; }

// A picture of 1024 x 1024 pixels with 512 tokens of text in 48 steps. Activations on a GPU, a
// little more than
//   4608 tokens x (4 width + (max(width, ffn) + 3 width + width) bf16) and int8 heads; three planes
//   of the VAE's widest block.
MemoryNeeds full_size(Precision precision) {
  LayerSelection selection;
  selection.precision = precision;
  MemoryNeeds n;
  n.text = qwen3::text_encoder_weights(ideogram4::text_config(), selection);
  n.transformers = {transformer_weights(ideogram4::transformer_config(), selection, true),
                    transformer_weights(ideogram4::transformer_config(), selection, false)};
  n.vae_weights = autoencoder::decoder_weight_bytes(autoencoder::flux2_config(), DType::kBF16);
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
  ASSERT_EQ(conditional(n).layer_bytes.size(), 34u);
  // 12 width^2 + 3 width ffn values a layer, rounded up to granules.
  constexpr uint64_t kValues = 4 * 4608 * 4608 + 3 * 4608 * 12288;
  EXPECT_GE(conditional(n).largest_layer(), kValues);
  EXPECT_LE(conditional(n).largest_layer(), kValues + 4 * 2 * kMiB);
  const uint64_t one = conditional(n).fixed_bytes + conditional(n).all_layers();
  EXPECT_NEAR(static_cast<double>(one), 9.11e9, 0.1e9);
  // AdaLN: 4 width x 512 values a layer, bf16.
  ASSERT_EQ(conditional(n).once_bytes.size(), 34u);
  EXPECT_NEAR(static_cast<double>(conditional(n).largest_once()), 4.0 * 4608 * 512 * 2, 2.0 * kMiB);
  const ModelWeights on_cpu = weights_on_cpu(conditional(n));
  EXPECT_NEAR(static_cast<double>(on_cpu.fixed_bytes + on_cpu.all_layers()), 9.75e9, 0.1e9);
  // The text projection is the conditional transformer's alone.
  EXPECT_NEAR(static_cast<double>(conditional(n).fixed_bytes - unconditional(n).fixed_bytes),
              53248.0 * 4608, 4e6);
  EXPECT_EQ(n.text.layer_bytes.size(), 36u);
  EXPECT_NEAR(static_cast<double>(n.text.all_layers()), 13.9e9, 0.1e9);  // bf16
  EXPECT_NEAR(static_cast<double>(conditional(full_size(Precision::kBf16)).all_layers()), 17.3e9,
              0.3e9);
  EXPECT_NEAR(static_cast<double>(
                  autoencoder::decoder_weight_bytes(autoencoder::flux2_config(), DType::kBF16)),
              0.12e9, 0.02e9);
}

TEST(MemoryPlan, OnALargeCardEverythingStays) {
  const auto plan = plan_memory(full_size(Precision::kInt8), {.bytes = 79 * kGiB});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->keep_text);
  EXPECT_FALSE(plan->streams);
  EXPECT_NEAR(static_cast<double>(plan->pinned_bytes), 1.28e9, 0.15e9);  // AdaLN of both
  EXPECT_EQ(plan->budgets[0], 0u);
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

// The encoder comes beside all that is loaded, and goes before the steps.
TEST(MemoryPlan, AnEncoderHasAPhaseOfItsOwn) {
  MemoryNeeds n = full_size(Precision::kInt8);
  EXPECT_EQ(plan_memory(n, {.bytes = 79 * kGiB})->encode_phase, 0u);
  n.encoder_weights = 70 * kMiB;
  n.encoder_scratch = 2 * kGiB;
  const auto tight = plan_memory(n, {.bytes = 22'000'000'000});
  ASSERT_TRUE(tight) << tight.error().message;
  const uint64_t weights = tight->transformer_bytes + n.vae_weights;
  ASSERT_FALSE(tight->keep_text);
  ASSERT_GT(tight->kept_scratch, 0u);
  const uint64_t kept = tight->encode_phase;
  EXPECT_EQ(kept, weights + n.sessions + n.features + n.encoder_weights + n.encoder_scratch);
  EXPECT_EQ(tight->decode_phase, weights + n.sessions + n.encoder_scratch);
  const auto least = plan_memory(n, {.bytes = kept - 1});
  ASSERT_TRUE(least);
  EXPECT_EQ(least->kept_scratch, 0u);
  EXPECT_EQ(least->encode_phase, weights + n.features + n.encoder_weights + n.encoder_scratch);
  EXPECT_FALSE(plan_memory(n, {.bytes = least->encode_phase - 1}));
  const auto all = plan_memory(n, {.bytes = 79 * kGiB});
  ASSERT_TRUE(all);
  EXPECT_GT(all->encode_phase, all->prepare_phase);
  EXPECT_EQ(all->peak_bytes(), std::max(all->text_phase, all->encode_phase));
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
  const StreamingChoice c = choose_streamed(conditional(n).layer_bytes, *plan.budgets[0]);
  const StreamingChoice u = choose_streamed(unconditional(n).layer_bytes, *plan.budgets[1]);
  const uint64_t weights = conditional(n).fixed_bytes + unconditional(n).fixed_bytes +
                           c.resident_bytes + u.resident_bytes + plan.slots * plan.slot_bytes;
  EXPECT_EQ(plan.transformer_bytes, weights);
  uint64_t pinned = c.streamed_bytes + u.streamed_bytes;
  for (const auto& weights_of : n.transformers)
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
    EXPECT_GE(plan->slot_bytes, conditional(n).largest_layer());
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
    ideogram4::Transformer described(small_config(), {.selection = selection});
    ideogram4::Transformer loaded(small_config(), {.selection = selection});
    SyntheticSource source(1);
    ASSERT_TRUE(described.describe(context) && loaded.load(context, source));
    const PassSize size{.text_tokens = 7, .grid_h = 4, .grid_w = 6};
    EXPECT_EQ(described.scratch_bytes(context, size, 5), loaded.scratch_bytes(context, size, 5))
        << precision_name(precision);
    EXPECT_EQ(described.weight_bytes(), 0u);
  }
}

// Two transformers, or one, in sizes that need not fit the other parts.
class SizedModel : public ideogram4::Model {
 public:
  SizedModel(const ideogram4::TransformerConfig& conditional,
             const std::optional<ideogram4::TransformerConfig>& unconditional) {
    set_sizes({.conditional = conditional,
               .unconditional = unconditional,
               .text = ideogram4::text_config(),
               .vae = autoencoder::flux2_config()});
    info_.latent_channels = conditional.channels;
  }
};

TEST(MemoryPlan, NeedsOfAPictureGrowWithIt) {
  Context context;
  context.cpu = *selected_cpu_features();
  const SizedModel model(small_config(), small_config());
  const auto needs = [&](int64_t text_tokens, int64_t side, int64_t steps) {
    return guided_picture_needs(
        context, model, {}, {.text_tokens = text_tokens, .grid_h = side, .grid_w = side}, steps);
  };
  const auto small = needs(8, 8, 4);
  const auto large = needs(64, 16, 48);
  ASSERT_TRUE(small && large);
  EXPECT_GT(large->transformer_scratch, small->transformer_scratch);
  EXPECT_GT(large->sessions, small->sessions);
  EXPECT_EQ(large->features, 8 * small->features);
  const auto absurd = needs(8, 1 << 16, 4);
  ASSERT_FALSE(absurd);
  EXPECT_EQ(absurd.error().code, ErrorCode::kOutOfMemory);
}

// Deeper, wider inside and with other heads than small_config, so that its passes take more of
// everything.
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

constexpr PassSize kSmallPicture{.text_tokens = 7, .grid_h = 4, .grid_w = 6};
constexpr int64_t kSmallSteps = 5;

Expected<MemoryNeeds> needs_of(const Context& context,
                               const ideogram4::TransformerConfig& conditional,
                               const std::optional<ideogram4::TransformerConfig>& unconditional,
                               const LayerSelection& selection) {
  PlannedPicture picture{.passes = {{.transformer = 0, .text = 0}},
                         .text_tokens = {kSmallPicture.text_tokens},
                         .grid_h = kSmallPicture.grid_h,
                         .grid_w = kSmallPicture.grid_w,
                         .steps = kSmallSteps};
  if (unconditional) picture.passes.push_back({.transformer = 1});
  return picture_needs(context, SizedModel(conditional, unconditional), {.selection = selection},
                       picture);
}

uint64_t weights_of(const ModelWeights& w) { return w.fixed_bytes + w.all_layers(); }

// What a pass of `config` really takes of the arena, run with random weights.
size_t arena_peak_of(const ideogram4::TransformerConfig& config, const LayerSelection& selection,
                     bool with_text, size_t planned) {
  Context context = cpu_context();
  Arena arena = *Arena::with_capacity(planned);
  context.scratch = &arena;
  ideogram4::Transformer model(config, {.selection = selection}, with_text);
  SyntheticSource source(1);
  EXPECT_TRUE(model.load(context, source));
  const int64_t text_tokens = with_text ? kSmallPicture.text_tokens : 0;
  const std::vector<float> features(static_cast<size_t>(text_tokens * config.text_dim), 0.5f);
  const std::vector<float> times(static_cast<size_t>(kSmallSteps), 0.5f);
  TransformerSession session;
  const Status prepared =
      model.prepare(context, {.tokens = text_tokens, .features = features.data()},
                    kSmallPicture.grid_h, kSmallPicture.grid_w, times, session);
  EXPECT_TRUE(prepared) << prepared.error().message;
  if (!prepared) return SIZE_MAX;
  const auto values =
      static_cast<size_t>(kSmallPicture.grid_h * kSmallPicture.grid_w * config.channels);
  const std::vector<float> latents(values, 0.25f);
  std::vector<float> velocity(values);
  EXPECT_TRUE(model.select_step(context, session, 0));
  const Status done = model.forward(context, session, latents.data(), velocity.data());
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
        return weights_of(weights_on_cpu(transformer_weights(config, selection, with_text)));
      };
      EXPECT_EQ(weights_of(conditional(*needs)), own(c, true)) << precision_name(precision);
      EXPECT_EQ(weights_of(unconditional(*needs)), own(u, false)) << precision_name(precision);

      ideogram4::Transformer text(c, {.selection = selection});
      ideogram4::Transformer none(u, {.selection = selection}, false);
      ASSERT_TRUE(text.describe(context) && none.describe(context));
      const PassSize& p = kSmallPicture;
      const PassSize without_text{.grid_h = p.grid_h, .grid_w = p.grid_w};
      EXPECT_GE(needs->sessions,
                text.session_bytes(p, kSmallSteps) + none.session_bytes(without_text, kSmallSteps) +
                    3 * sizeof(float) * static_cast<uint64_t>(p.image_tokens() * c.channels));
      const size_t with_text = text.scratch_bytes(context, p, kSmallSteps);
      const size_t without = none.scratch_bytes(context, without_text, kSmallSteps);
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
      n.transformers[conditional_is_larger ? 0 : 1] =
          transformer_weights(other, selection, conditional_is_larger);
      const uint64_t least = least_resident_bytes(n);
      const auto resident = plan_memory(n, {.bytes = least});
      ASSERT_TRUE(resident) << resident.error().message;
      EXPECT_GE(resident->transformer_bytes,
                weights_of(conditional(n)) + weights_of(unconditional(n)));
      EXPECT_FALSE(plan_memory(n, {.bytes = least - 1}));
      const auto streamed = plan_memory(n, {.bytes = 8 * kGiB, .stream = true});
      ASSERT_TRUE(streamed) << streamed.error().message;
      EXPECT_GE(streamed->slot_bytes,
                std::max(conditional(n).largest_layer(), unconditional(n).largest_layer()));
      const StreamingChoice c = choose_streamed(conditional(n).layer_bytes, *streamed->budgets[0]);
      const StreamingChoice u =
          choose_streamed(unconditional(n).layer_bytes, *streamed->budgets[1]);
      EXPECT_EQ(streamed->transformer_bytes,
                conditional(n).fixed_bytes + unconditional(n).fixed_bytes + c.resident_bytes +
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
  EXPECT_TRUE(both->transformers[1]);
  EXPECT_EQ(one->transformers.size(), 1u);
  EXPECT_EQ(one->beside_scratch, 0u);
  EXPECT_EQ(weights_of(conditional(*one)), weights_of(conditional(*both)));
  EXPECT_LT(one->sessions, both->sessions);

  MemoryNeeds n = full_size(Precision::kInt8);
  const auto guided = plan_memory(n, {.bytes = 79 * kGiB});
  n.transformers[1].reset();
  n.beside_scratch = 0;
  const auto plain = plan_memory(n, {.bytes = 79 * kGiB});
  ASSERT_TRUE(guided && plain);
  EXPECT_TRUE(guided->budgets[1].has_value());
  EXPECT_FALSE(plain->budgets[1].has_value());
  EXPECT_EQ(plain->beside_scratch, 0u);
  EXPECT_NEAR(static_cast<double>(plain->transformer_bytes),
              0.5 * static_cast<double>(guided->transformer_bytes), 0.3e9);
  // It streams by itself as well.
  const auto streamed = plan_memory(n, {.bytes = 4 * kGiB, .stream = true});
  ASSERT_TRUE(streamed) << streamed.error().message;
  const StreamingChoice c = choose_streamed(conditional(n).layer_bytes, *streamed->budgets[0]);
  EXPECT_EQ(streamed->transformer_bytes,
            conditional(n).fixed_bytes + c.resident_bytes + streamed->slots * streamed->slot_bytes);
  EXPECT_EQ(streamed->streamed_bytes, c.streamed_bytes);
}

}  // namespace
}  // namespace intaglio
