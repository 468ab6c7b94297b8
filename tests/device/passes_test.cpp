// A pass of a model on the device double: the order of its copies and kernels, and the scratch it
// takes against the scratch it asks for.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/memory.h"
#include "device/double/device_double.h"
#include "device/written_model.h"
#include "models/ideogram4/transformer.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using test::DeviceDouble;

DeviceDouble& device() { return DeviceDouble::instance(); }

const std::shared_ptr<const Model>& tiny_model() {
  static const std::shared_ptr<const Model> model = test::written_model(test::tiny_sizes());
  return model;
}

int64_t count_of(const std::string& what) {
  return std::count(device().log().begin(), device().log().end(), what);
}

constexpr int kConditional = 0, kUnconditional = 1;

// A transformer, an arena of the size it asks for, and a session.
struct Loaded {
  DeviceContext device_context;
  Context context;
  std::unique_ptr<Transformer> model;
  Arena arena;
  TransformerSession session;
  AlignedBuffer latents, velocity, features;

  static constexpr int64_t kText = 7, kSide = 4, kSteps = 3;

  void load(Precision precision, uint64_t weight_budget, int which) {
    const bool with_text = which == kConditional;
    device_context = *open_device(0, 1);
    context = device_context.context;
    auto loaded = tiny_model()->load_transformer(
        context, which,
        {.selection = {.precision = precision, .keep_bf16 = {}}, .weight_budget = weight_budget});
    ASSERT_TRUE(loaded) << loaded.error().message;
    model = std::move(*loaded);
    const int64_t text = with_text ? kText : 0;
    arena = Arena(*allocate(
        context, model->scratch_bytes(
                     context, {.text_tokens = text, .grid_h = kSide, .grid_w = kSide}, kSteps)));
    context.scratch = &arena;
    const std::vector<float> noise(static_cast<size_t>(kSide * kSide * model->channels()), 0.25f);
    const std::vector<float> text_values(static_cast<size_t>(kText * model->text_dim()), 0.5f);
    latents = *upload(context, noise);
    velocity = *upload(context, noise);
    features = *upload(context, text_values);
    const std::vector<float> times{0.0f, 0.3f, 0.7f};
    const Status prepared = model->prepare(
        context, {.tokens = text, .features = features.as<float>()}, kSide, kSide, times, session);
    ASSERT_TRUE(prepared) << prepared.error().message;
    ASSERT_TRUE(model->select_step(context, session, 1));
    ASSERT_TRUE(synchronize(context));
  }
  void forward() {
    device().clear_log();
    const Status done = model->forward(context, session, latents.as<float>(), velocity.as<float>());
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_TRUE(synchronize(context));
  }
};

// Copies begin with the pass and wait for nobody but the readers of their slots; the last of them
// is over before what follows the layers.
TEST(DevicePasses, AStreamedForwardEndsItsCopiesBeforeItsOutput) {
  for (const int which : {kConditional, kUnconditional}) {
    device().restart();
    Loaded loaded;
    ASSERT_NO_FATAL_FAILURE(loaded.load(Precision::kInt8, 1, which));
    const auto layers = static_cast<int64_t>(loaded.model->layers());
    ASSERT_EQ(static_cast<int64_t>(loaded.model->streamed_layers()), layers);
    for (int pass = 0; pass < 2; ++pass) {
      ASSERT_NO_FATAL_FAILURE(loaded.forward());
      const std::vector<std::string>& log = device().log();
      EXPECT_EQ(log.front(), "1 wait 0");  // the fork
      EXPECT_EQ(count_of("1 copy"), 4 * layers);
      EXPECT_EQ(count_of("1 wait 0"), 1 + layers - static_cast<int64_t>(kStreamSlots));
      EXPECT_EQ(count_of("0 wait 1"), layers + 1);  // each layer for its weights, and the end
      ASSERT_GE(log.size(), 3u);
      // The end, the last norm, the output's product.
      EXPECT_EQ(std::vector<std::string>(log.end() - 3, log.end() - 1),
                (std::vector<std::string>{"0 wait 1", "0 norm_rows"}));
      EXPECT_EQ(device().unjoined_streams(), std::vector<int>{});
    }
  }
}

// The AdaLN weights of all layers come through the slots once a picture, also where no layer
// streams.
TEST(DevicePasses, APrepareEndsItsCopiesBeforeTheFinalModulation) {
  device().restart();
  Loaded loaded;
  ASSERT_NO_FATAL_FAILURE(loaded.load(Precision::kInt8, 0, kUnconditional));
  ASSERT_EQ(loaded.model->streamed_layers(), 0u);
  device().clear_log();
  const std::vector<float> times{0.1f, 0.5f};
  ASSERT_TRUE(loaded.model->prepare(loaded.context, {}, 4, 4, times, loaded.session));
  const std::vector<std::string>& log = device().log();
  EXPECT_EQ(count_of("1 copy"), loaded.model->layers());
  const auto last_copy = std::find(log.rbegin(), log.rend(), "1 copy");
  const auto last_wait = std::find(log.rbegin(), log.rend(), "0 wait 1");
  const auto last_gates = std::find(log.rbegin(), log.rend(), "0 tanh_rows");
  ASSERT_NE(last_copy, log.rend());
  EXPECT_LT(last_wait, last_gates);  // from behind: the end comes after the last layer
  EXPECT_EQ(std::vector<std::string>(log.end() - 4, log.end() - 2),
            (std::vector<std::string>{"0 wait 1", "0 silu_rows"}));
  // A resident pass copies nothing.
  ASSERT_TRUE(loaded.model->select_step(loaded.context, loaded.session, 0));
  ASSERT_NO_FATAL_FAILURE(loaded.forward());
  EXPECT_EQ(count_of("1 copy") + count_of("0 wait 1") + count_of("1 wait 0"), 0);
}

// What stays from a prepare is what the plan counts for a session, each of its blocks rounded up to
// a granule at most.
TEST(DevicePasses, ASessionTakesWhatItSays) {
  device().restart();
  Loaded loaded;
  ASSERT_NO_FATAL_FAILURE(loaded.load(Precision::kInt8, 0, kConditional));
  constexpr int64_t kSteps = 20000, kSide = 64;
  device().set_computing(false);
  const std::vector<float> times(static_cast<size_t>(kSteps), 0.5f);
  const Transformer& model = *loaded.model;
  const PassSize size{.text_tokens = Loaded::kText, .grid_h = kSide, .grid_w = kSide};
  Arena arena(*allocate(loaded.context, model.scratch_bytes(loaded.context, size, kSteps)));
  loaded.context.scratch = &arena;
  const uint64_t before = device().device().now;
  TransformerSession session;
  const Status prepared = model.prepare(
      loaded.context, {.tokens = Loaded::kText, .features = loaded.features.as<float>()}, kSide,
      kSide, times, session);
  ASSERT_TRUE(prepared) << prepared.error().message;
  const uint64_t taken = device().device().now - before;
  const uint64_t said = model.session_bytes(size, kSteps);
  constexpr uint64_t kBlocks = 6, kGranule = uint64_t{2} << 20;
  ASSERT_GT(said, 4 * kBlocks * kGranule);  // far more than rounding
  EXPECT_GE(taken, said);
  EXPECT_LE(taken, said + kBlocks * kGranule);
}

class DeviceScratch : public testing::TestWithParam<Precision> {};

// No byte more than it asks for, and none less: the plan counts what it says. int8 heads are
// counted beside the linears of the feed-forward, whose time they do not share.
TEST_P(DeviceScratch, OfATransformerIsWhatItAsksFor) {
  for (const int which : {kConditional, kUnconditional}) {
    device().restart();
    Loaded loaded;
    ASSERT_NO_FATAL_FAILURE(loaded.load(GetParam(), 0, which));
    ASSERT_NO_FATAL_FAILURE(loaded.forward());
    const ideogram4::TransformerConfig& config =
        dynamic_cast<const ideogram4::Transformer&>(*loaded.model).config();
    const AttentionDesc heads{.tokens = loaded.session.rows().all(),
                              .heads = config.heads,
                              .kv_heads = config.heads,
                              .head_dim = config.head_dim};
    const size_t slack = GetParam() == Precision::kInt8 ? s8_heads_bytes(heads) : 0;
    EXPECT_GE(loaded.arena.peak() + slack, loaded.arena.capacity());
    EXPECT_EQ(loaded.arena.used(), 0u);
  }
}

TEST_P(DeviceScratch, OfATextEncoderIsWhatItAsksFor) {
  device().restart();
  DeviceContext opened = *open_device(0, 1);
  Context& context = opened.context;
  const LayerSelection selection{.precision = GetParam(), .keep_bf16 = {}};
  const auto described =
      qwen3::TextEncoder::describe(context, tiny_model()->text_config(), selection);
  for (const uint64_t budget : {uint64_t{0}, uint64_t{1}}) {
    const auto model = tiny_model()->load_text_encoder(context, selection, budget);
    ASSERT_TRUE(model && described);
    EXPECT_EQ(model->keeps_all_layers(), budget == 0);
    const std::vector<int32_t> ids{1, 2, 3, 5, 8, 13, 21};
    const size_t bytes = model->scratch_bytes(context, 7);
    EXPECT_EQ(described->scratch_bytes(context, 7), bytes);
    Arena arena(*allocate(context, bytes));
    context.scratch = &arena;
    const AlignedBuffer features =
        *allocate(context, static_cast<size_t>(7 * model->config().feature_dim()) * sizeof(float));
    const Status encoded = model->encode(context, ids, features.as<float>());
    ASSERT_TRUE(encoded) << encoded.error().message;
    ASSERT_TRUE(synchronize(context));
    EXPECT_EQ(arena.peak(), arena.capacity());
  }
}

TEST_P(DeviceScratch, OfADecoderIsWhatItAsksFor) {
  device().restart();
  DeviceContext opened = *open_device(0, 1);
  Context& context = opened.context;
  const LayerSelection selection{.precision = GetParam(), .keep_bf16 = {}};
  const DType dtype = autoencoder::Decoder::compute_dtype(context, selection);
  const auto vae = tiny_model()->load_vae(context, dtype);
  ASSERT_TRUE(vae);
  Arena arena(*allocate(context, vae->scratch_bytes(context, 6, 8)));
  context.scratch = &arena;
  const std::vector<float> latent(static_cast<size_t>(4 * 6 * 8), 0.5f);
  std::vector<float> picture(static_cast<size_t>(3 * 12 * 16));
  const Status decoded = vae->decode(context, latent.data(), 6, 8, picture.data(), {});
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(arena.peak(), arena.capacity());
  EXPECT_EQ(autoencoder::Decoder::planned_bytes(context, tiny_model()->vae_config(), dtype, 12, 16),
            arena.capacity());
}

INSTANTIATE_TEST_SUITE_P(Precisions, DeviceScratch,
                         testing::Values(Precision::kFp32, Precision::kBf16, Precision::kInt8,
                                         Precision::kInt8Dequant, Precision::kNf4),
                         [](const auto& info) {
                           std::string name(precision_name(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace intaglio
