// Tensors of a checkpoint under any of their names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "io/safetensors.h"
#include "models/parts/weights.h"
#include "support/temp_folder.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr ModuleAlias kAliases[] = {{"attention.to_q", "attention.qkv", 0, 3},
                                    {"attention.to_k", "attention.qkv", 1, 3},
                                    {"out.0", "o"}};

// A checkpoint in memory, written when it is opened. Every tensor counts up from its number.
class Written {
 public:
  Written& tensor(const std::string& name, DType dtype, const Shape& shape) {
    const auto count = static_cast<size_t>(shape.count());
    std::vector<std::byte> bytes(count * dtype_size(dtype));
    for (size_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(entries_.size() + i);
      if (dtype == DType::kI8) bytes[i] = static_cast<std::byte>(static_cast<int8_t>(value));
      if (dtype == DType::kF32) std::memcpy(bytes.data() + 4 * i, &value, 4);
      if (dtype == DType::kBF16) {
        const BFloat16 narrow(value);
        std::memcpy(bytes.data() + 2 * i, &narrow, 2);
      }
    }
    data_.push_back(std::move(bytes));
    entries_.push_back({.name = name, .view = {data_.back().data(), dtype, shape}});
    return *this;
  }
  std::shared_ptr<CheckpointSource> open(std::span<const ModuleAlias> aliases = kAliases) const {
    EXPECT_TRUE(write_safetensors(folder_ / "model.safetensors", entries_));
    auto source = CheckpointSource::open(Checkpoint::open(folder_.path()).value(), aliases);
    if (!source) throw std::runtime_error(source.error().message);
    return *source;
  }

 private:
  TempFolder folder_;
  std::vector<std::vector<std::byte>> data_;
  std::vector<TensorEntry> entries_;
};

std::vector<float> values(const Tensor& tensor) {
  std::vector<float> floats(static_cast<size_t>(tensor.view.shape.count()));
  convert_to_f32(tensor.view.data, tensor.view.dtype, floats.data(), floats.size());
  return floats;
}

TEST(CheckpointSource, CollectsEveryProblem) {
  Written file;
  file.tensor("a", DType::kF32, {2, 2}).tensor("b", DType::kF32, {2}).tensor("c", DType::kI32, {1});
  const auto source = file.open();
  EXPECT_TRUE(source->check({{"a", {2, 2}}}));
  EXPECT_EQ(values(*source->tensor("a", {2, 2})), (std::vector<float>{0, 1, 2, 3}));
  const Status status = source->check({{"a", {2, 2}}, {"b", {2, 1}}, {"c", {1}}, {"d", {7}}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kShapeMismatch);
  const std::string& message = status.error().message;
  EXPECT_THAT(message, HasSubstr("model.safetensors: 3 tensors not as the model needs"));
  EXPECT_THAT(message, HasSubstr("b: found F32 [2], expected F32, F16 or BF16 [2, 1]"));
  EXPECT_THAT(message, HasSubstr("c: found I32 [1]"));
  EXPECT_THAT(message, HasSubstr("d: missing, expected [7]"));
  EXPECT_THAT(message, Not(HasSubstr("a: ")));
  EXPECT_THAT(source->tensor("d", {7}).error().message, HasSubstr("d: missing, expected [7]"));
}

// Parts of a fused weight and of its bias; a module by another name; its own name comes first.
TEST(CheckpointSource, ModulesAreFoundUnderTheirOtherNames) {
  Written file;
  file.tensor("model.diffusion_model.x.attention.qkv.weight", DType::kF32, {6, 2})
      .tensor("model.diffusion_model.x.attention.qkv.bias", DType::kBF16, {6})
      .tensor("model.diffusion_model.x.o.weight", DType::kF32, {1, 2})
      .tensor("model.diffusion_model.y.o.weight", DType::kF32, {1, 2})
      .tensor("model.diffusion_model.y.out.0.weight", DType::kF32, {1, 2});
  const auto source = file.open();
  EXPECT_TRUE(source->check({{"x.attention.to_q.weight", {2, 2}},
                             {"x.attention.to_k.weight", {2, 2}},
                             {"x.attention.to_k.bias", {2}},
                             {"x.out.0.weight", {1, 2}}}));
  const Context context{.threads = 1};
  const auto k = source->linear(context, "x.attention.to_k", {2, 2});
  ASSERT_TRUE(k) << k.error().message;
  std::vector<float> row(2);
  dequantize_row(k->linear, 0, row.data());
  EXPECT_EQ(row, (std::vector<float>{4, 5}));
  EXPECT_EQ(k->linear.n(), 2);
  EXPECT_EQ(values(*source->tensor("x.attention.to_k.bias", {2})), (std::vector<float>{3, 4}));
  EXPECT_EQ(values(*source->tensor("x.out.0.weight", {1, 2})), (std::vector<float>{2, 3}));
  EXPECT_EQ(values(*source->tensor("y.out.0.weight", {1, 2})), (std::vector<float>{4, 5}));
  // Whole components only, and the shape of all parts.
  EXPECT_FALSE(source->check({{"xo.weight", {1, 2}}}));
  EXPECT_THAT(
      source->check({{"x.attention.to_q.weight", {3, 2}}}).error().message,
      HasSubstr("x.attention.qkv.weight: found F32 [6, 2], expected F32, F16 or BF16 [9, 2]"));
}

// A tensor with a leaf of another name, and one whose shape is not kept.
TEST(CheckpointSource, LoneTensorsAreFoundUnderTheirOtherNames) {
  static constexpr ModuleAlias kLone[] = {
      {"layers.*.norm.weight", "blk.*.norm.scale"},
      {.module = "layers.*.table", .stored = "blk.*.mod.lin", .flat = true}};
  Written file;
  file.tensor("blk.3.norm.scale", DType::kF32, {2}).tensor("blk.3.mod.lin", DType::kBF16, {6});
  const auto source = file.open(kLone);
  EXPECT_TRUE(source->check({{"layers.3.norm.weight", {2}}, {"layers.3.table", {3, 2}}}));
  EXPECT_EQ(values(*source->tensor("layers.3.norm.weight", {2})), (std::vector<float>{0, 1}));
  EXPECT_EQ(values(*source->tensor("layers.3.table", {3, 2})),
            (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_THAT(source->check({{"layers.3.table", {3, 3}}}).error().message,
              HasSubstr("blk.3.mod.lin: found BF16 [6]"));
  EXPECT_FALSE(source->check({{"layers.3.norm.weight", {2, 2}}}));
  EXPECT_FALSE(source->check({{"layers.4.table", {3, 2}}}));
  EXPECT_THAT(stored_names("layers.7.table", kLone), testing::Contains("blk.7.mod.lin"));
}

// A layer's number goes over to the other name; as many components as the pattern has, whole ones.
TEST(CheckpointSource, NamesOfLayersMayDifferAroundTheNumber) {
  static constexpr ModuleAlias kLayers[] = {{"layers.*.attn.q", "blk.*.attn_q"},
                                            {"layers.*.norm", "blk.*.attn_norm"},
                                            {"embed", "token_embd"}};
  Written file;
  file.tensor("blk.12.attn_q.weight", DType::kF32, {1, 2})
      .tensor("blk.0.attn_norm.weight", DType::kF32, {2})
      .tensor("x.blk.3.attn_q.weight", DType::kF32, {1, 2})
      .tensor("token_embd.weight", DType::kF32, {1, 2});
  const auto source = file.open(kLayers);
  EXPECT_TRUE(source->check({{"layers.12.attn.q.weight", {1, 2}},
                             {"layers.0.norm.weight", {2}},
                             {"x.layers.3.attn.q.weight", {1, 2}},
                             {"embed.weight", {1, 2}}}));
  EXPECT_EQ(values(*source->tensor("layers.0.norm.weight", {2})), (std::vector<float>{1, 2}));
  for (const char* other : {"layers.1.attn.q.weight", "mylayers.12.attn.q.weight",
                            "layers.12.x.attn.q.weight", "attn.q.weight", "12.attn.q.weight"})
    EXPECT_FALSE(source->check({{other, {1, 2}}})) << other;
  EXPECT_THAT(stored_names("layers.7.norm.bias", kLayers),
              testing::ElementsAre("layers.7.norm.bias", "blk.7.attn_norm.bias"));
}

// Its writers leave out outermost sizes of 1, and only they.
TEST(CheckpointSource, GgufLacksOutermostOnes) {
  const TempFolder folder;
  test::GgufBytes bytes(2);
  bytes.tensor("pad_token", {4}, 0, 0).tensor("b.weight", {32, 2}, 8, 32).pad().zeros(32 + 68);
  folder.write("x.gguf", bytes.bytes());
  const auto source =
      CheckpointSource::open(Checkpoint::open(folder / "x.gguf").value(), kAliases).value();
  EXPECT_TRUE(source->check({{"pad_token", {4}}, {"b.weight", {2, 32}}}));
  EXPECT_TRUE(source->tensor("pad_token", {1, 4}));
  EXPECT_THAT(source->check({{"pad_token", {4, 1}}}).error().message,
              HasSubstr("pad_token: found F32 [4], expected F32, F16 or BF16 [4, 1]"));
  EXPECT_THAT(source->check({{"b.weight", {2, 64}}}).error().message,
              HasSubstr("b.weight: found Q8_0 [2, 32], expected Q8_0 [2, 64]"));
  Written file;
  EXPECT_FALSE(file.tensor("a", DType::kF32, {4}).open()->check({{"a", {1, 4}}}));
}

TEST(CheckpointSource, Int8LinearsKeepTheirGrid) {
  Written file;
  file.tensor("x.attention.qkv.weight", DType::kI8, {6, 16})
      .tensor("x.attention.qkv.weight_scale", DType::kF32, {6, 1})
      .tensor("y.weight", DType::kF32, {2, 16})
      .tensor("y.bias", DType::kF32, {2});
  const auto source = file.open();
  EXPECT_TRUE(source->is_quantized());
  EXPECT_EQ(source->form("x.attention.to_k", 16).encoding, Encoding::kInt8Rows);
  EXPECT_EQ(source->form("y", 16).encoding, Encoding::kFloat);
  const Context context{.threads = 1};
  const auto k = source->linear(context, "x.attention.to_k", {2, 16});
  ASSERT_TRUE(k) << k.error().message;
  EXPECT_EQ(k->linear.values.as<int8_t>()[0], 32);
  EXPECT_EQ(k->linear.scales.as<float>()[1], 4.0f);
  EXPECT_THAT(source->check({{"x.attention.to_k.weight", {3, 16}}}).error().message,
              HasSubstr("x.attention.qkv.weight: found I8 [6, 16], expected I8 [9, 16]"));
  // Its numbers are no floats for whoever asks for a tensor; rows of a table are turned into some.
  EXPECT_FALSE(source->tensor("x.attention.qkv.weight", {6, 16}));
  std::vector<float> out(16);
  const int64_t first[] = {0}, third[] = {2};
  EXPECT_TRUE(source->rows("x.attention.qkv.weight", {6, 16}, third, out.data()));
  EXPECT_EQ(out[0], 32.0f * 3.0f);
  EXPECT_TRUE(source->rows("y.weight", {2, 16}, first, out.data()));
  EXPECT_EQ(out[0], 2.0f);
}

TEST(CheckpointSource, LayersBeyondTheConfigsAreRefused) {
  Written file;
  file.tensor("diffusion_model.layers.2.w", DType::kF32, {1}).tensor("layers.x", DType::kF32, {1});
  const auto source = file.open();
  EXPECT_TRUE(source->refuse_layers_beyond("layers.", 3, "num_layers"));
  EXPECT_THAT(
      source->refuse_layers_beyond("layers.", 2, "num_layers").error().message,
      HasSubstr("holds diffusion_model.layers.2.w, beyond the 2 of the config (num_layers)"));
}

}  // namespace
}  // namespace intaglio
