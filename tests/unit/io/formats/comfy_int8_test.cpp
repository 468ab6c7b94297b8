// ComfyUI's int8 checkpoints, as its own code wrote them (tests/formats).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "io/formats/stored_weights.h"
#include "ops/quantize.h"
#include "support/source_folder.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

float bf16(float value) { return static_cast<float>(BFloat16(value)); }

struct Case {
  std::string folder, file;
  size_t linears;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder << "/" << one.file; }

const Case kCases[] = {
    {"comfy_int8_tensorwise", "wide", 3},     {"comfy_int8_rowwise", "wide", 3},
    {"comfy_int8_convrot256", "model", 8},    {"comfy_int8_convrot256", "wide", 3},
    {"comfy_int8_convrot256", "wide_f32", 3}, {"comfy_int8_convrot64", "header_only", 8},
    {"comfy_int8_convrot64", "wide", 3},      {"comfy_int8_convrot16", "prefixed", 8},
    {"comfy_int8_convrot16", "wide", 3},      {"comfy_int8_old_fast", "model", 8},
    {"comfy_quants_int8", "model", 8},        {"comfy_quants_int8", "wide", 2}};

class ComfyInt8Files : public testing::TestWithParam<Case> {
 protected:
  // Calls visit(name in the file, linear, prefix of its expected tensors).
  template <typename Visit>
  void each_linear(Visit&& visit) const {
    const auto& [folder, file, count] = GetParam();
    const auto weights = weights_at(folder + "/" + file + ".safetensors");
    EXPECT_STREQ(weights->format(), "comfy");
    const std::vector<std::string> names = Published(folder).linears(file);
    ASSERT_EQ(names.size(), count);
    for (const std::string& name : names) {
      SCOPED_TRACE(folder + "/" + file + " " + name);
      const auto loaded = weights->linear(without_model_prefix(name));
      ASSERT_TRUE(loaded) << loaded.error().message;
      visit(*weights, loaded->linear, name);
    }
  }
};

// Its quantized rows times the stored integers, exact in int32, are its own product of bf16 rows:
// the
// product is rounded to bf16, the bias added, and the sum rounded again. 1e-3 of the largest is
// less
// than one step of bf16.
TEST_P(ComfyInt8Files, IntegersGiveThePublishersInt8Products) {
  const Published published(GetParam().folder);
  each_linear(
      [&](const StoredWeights& weights, const StoredLinear& linear, const std::string& name) {
        const std::string begin = GetParam().file + "/" + name + "/";
        if (!published.has(begin + "xq")) return;
        const std::vector<int8_t> xq = published.integers<int8_t>(begin + "xq");
        const std::vector<float> xs = published.floats(begin + "xs");
        const std::vector<float> own = published.floats(begin + "own_bf16");
        std::vector<float> bias(static_cast<size_t>(linear.n()));
        if (const TensorEntry* entry = weights.tensors().find(name + ".bias"))
          bias = *read_floats(*entry);
        const int64_t k = linear.k(), n = linear.n();
        const float limit = 1e-3f * largest(own);
        for (int64_t m = 0; m < 3; ++m) {
          for (int64_t r = 0; r < n; ++r) {
            int32_t sum = 0;
            for (int64_t c = 0; c < k; ++c)
              sum += xq[static_cast<size_t>(m * k + c)] * linear.values.as<int8_t>()[r * k + c];
            const float scale = xs[static_cast<size_t>(m)] * linear.scales.as<float>()[r];
            const float product = bf16(static_cast<float>(sum) * scale);
            const float y = bf16(product + bias[static_cast<size_t>(r)]);
            ASSERT_NEAR(own[static_cast<size_t>(m * n + r)], y, limit) << m << " " << r;
          }
        }
      });
}

// Its quantized bf16 rows. It rounds the rotated row, the scale it divides by and the quotient to
// bf16
// (tests/unit/quant/rotation_test.cpp repeats that, to the bit); ours stay in float, so integers
// near
// a tie lie one step apart, and the scale of a rotated row half a step of bf16.
TEST_P(ComfyInt8Files, OurRowsAreWithinOneStepOfThePublishers) {
  const Published published(GetParam().folder);
  each_linear([&](const StoredWeights&, const StoredLinear& linear, const std::string& name) {
    const std::string begin = GetParam().file + "/" + name + "/";
    if (!published.has(begin + "xq")) return;
    const std::vector<int8_t> xq = published.integers<int8_t>(begin + "xq");
    const std::vector<float> xs = published.floats(begin + "xs");
    std::vector<BFloat16> x;
    for (const float value : published.floats("x/" + std::to_string(linear.k())))
      x.emplace_back(value);
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(3);
    ASSERT_TRUE(quantize_rows(Context{.threads = 1, .cpu = host_cpu_features()},
                              {x.data(), DType::kBF16, Shape{3, linear.k()}},
                              {DType::kI8, q.data(), 3, linear.k(), scale.data()},
                              {.rotation = linear.rotation}));
    const bool rotated = linear.rotation.kind != RotationKind::kNone;
    for (size_t m = 0; m < 3; ++m) ASSERT_NEAR(scale[m], xs[m], rotated ? xs[m] * 0x1p-8f : 0.0f);
    size_t apart = 0;
    for (size_t i = 0; i < q.size(); ++i) {
      ASSERT_LE(std::abs(q[i] - xq[i]), 1) << i;
      apart += q[i] != xq[i];
    }
    EXPECT_LE(apart, q.size() * 12 / 100);
  });
}

INSTANTIATE_TEST_SUITE_P(All, ComfyInt8Files, testing::ValuesIn(kCases), [](const auto& info) {
  return info.param.folder + "_" + info.param.file;
});

TEST(ComfyInt8Format, LayersAreAsTheirDescriptorsSay) {
  const auto mixed = weights_at("comfy_int8_convrot256/model.safetensors");
  EXPECT_EQ(mixed->find_linear("layers.0.attention.qkv")->rotation, Rotation::convrot(64));
  EXPECT_EQ(mixed->find_linear("llm_cond_proj")->rotation, Rotation::convrot(16));
  EXPECT_EQ(mixed->find_linear("final_layer.linear")->encoding, Encoding::kFloat);
  EXPECT_EQ(mixed->find_linear("layers.0.attention_norm1"), nullptr);  // a vector

  const auto prefixed = weights_at("comfy_int8_convrot16/prefixed.safetensors");
  const auto& linears = prefixed->linears();
  EXPECT_EQ(linears.at("layers.0.attention.o").rotation, Rotation::convrot(16));  // in "params"
  EXPECT_FALSE(linears.at("layers.0.attention.o").float_product);
  EXPECT_TRUE(linears.at("layers.0.feed_forward.w2").float_product);
  EXPECT_TRUE(prefixed->linear("layers.0.feed_forward.w2")->linear.float_product);
  EXPECT_TRUE(prefixed->tensor("layers.0.attention_norm1.weight"));

  const auto header = weights_at("comfy_int8_convrot64/header_only.safetensors");
  EXPECT_EQ(header->linears().at("adaln_proj").rotation, Rotation::convrot(64));
  EXPECT_EQ(header->linears().at("layers.0.adaln_modulation").rotation, Rotation{});

  const auto old = weights_at("comfy_int8_old_fast/model.safetensors");
  for (const auto& [name, linear] : old->linears()) EXPECT_EQ(linear.rotation, Rotation{}) << name;
  EXPECT_EQ(old->linears().at("layers.0.attention.o").scales->name,
            "model.diffusion_model.layers.0.attention.o.scale_weight");
  // One scale of the tensor stands for every row.
  const LoadedLinear w2 = *old->linear("layers.0.feed_forward.w2");
  EXPECT_EQ(w2.linear.scales.shape, Shape{64});
  for (int64_t r = 1; r < 64; ++r)
    ASSERT_EQ(w2.linear.scales.as<float>()[r], w2.linear.scales.as<float>()[0]);

  const auto quants = weights_at("comfy_quants_int8/wide.safetensors");
  EXPECT_EQ(quants->linears().at("wide.0").rotation, Rotation::convrot(256));
  EXPECT_EQ(quants->linears().at("wide.1").encoding, Encoding::kFloat);
  EXPECT_EQ(quants->linear("wide.1")->linear.values.dtype, DType::kBF16);
  EXPECT_EQ(quants->linear("wide.1")->linear.scales.data, nullptr);
}

TEST(ComfyInt8Format, CheckpointOfAFileIsTheSame) {
  auto checkpoint = Checkpoint::open(
      test::source_path("tests/formats/comfy_int8_convrot64/header_only.safetensors"));
  ASSERT_TRUE(checkpoint);
  const auto weights = StoredWeights::open(*checkpoint);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ((*weights)->linears().at("adaln_proj").rotation, Rotation::convrot(64));
}

}  // namespace
}  // namespace intaglio
