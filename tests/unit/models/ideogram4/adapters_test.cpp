// Adapters on a whole small transformer, beside its linears, against the same model with their
// products merged into its weights as floats.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/memory.h"
#include "core/relative_error.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"
#include "unit/models/ideogram4/small_base.h"

namespace intaglio::ideogram4 {
namespace {

// The velocity of the base's inputs by the checkpoint at `path` with `adapters`. What was planned
// is what it takes.
std::vector<float> velocity_of(Context context, const std::filesystem::path& path,
                               const std::vector<AdapterUse>& adapters, Precision precision) {
  TransformerOptions options{.selection = {.precision = precision}, .adapters = adapters};
  const auto source =
      Transformer(small_config(), options).open_source(*Checkpoint::open(path)).value();
  options.source = source;
  Transformer transformer(small_config(), options);
  EXPECT_TRUE(transformer.describe(context));
  const size_t planned = transformer.scratch_bytes(context, kSmallPass, 1);
  const uint64_t weights = transformer.module_weights().fixed_bytes;
  EXPECT_GE(weights, Transformer(small_config(), {.selection = options.selection, .source = source})
                         .module_weights()
                         .fixed_bytes);
  const Status loaded = transformer.load(context, *source);
  EXPECT_TRUE(loaded) << loaded.error().message;
  EXPECT_LE(transformer.scratch_bytes(context, kSmallPass, 1), planned);
  Arena arena(allocate(context, planned).value());
  context.scratch = &arena;
  return small_velocity(context, transformer, *file_at("base/expected.safetensors"));
}

struct NamedTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

void write(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  std::vector<TensorEntry> entries;
  for (const NamedTensor& tensor : tensors)
    entries.push_back(
        {tensor.name, {const_cast<float*>(tensor.values.data()), DType::kF32, tensor.shape}});
  ASSERT_TRUE(write_safetensors(path, entries));
}

// An adapter of every linear of the base, in its own names, whose share of each product is as large
// as the weights' own; and the base with it merged. alpha: twice the rank.
class EveryLinear {
 public:
  explicit EveryLinear(int64_t rank, uint32_t seed = 1) {
    const auto base = file_at("base/diffusers/diffusion_pytorch_model.safetensors");
    std::mt19937 random(seed);
    std::vector<NamedTensor> adapter, merged;
    for (const TensorEntry& entry : base->tensors()) {
      merged.push_back({entry.name, entry.view.shape, *read_floats(entry)});
      const bool is_linear = entry.view.shape.rank == 2 && entry.name.ends_with(".weight") &&
                             !entry.name.starts_with("embed_image_indicator");
      if (!is_linear) continue;
      const int64_t n = entry.view.shape[0], k = entry.view.shape[1];
      const std::string name = entry.name.substr(0, entry.name.size() - 7);
      NamedTensor a{"transformer." + name + ".lora_A.weight", {rank, k}, {}};
      NamedTensor b{"transformer." + name + ".lora_B.weight", {n, rank}, {}};
      const float size = 0.05f / std::sqrt(static_cast<float>(rank));
      std::normal_distribution<float> of_a(0.0f, 1.0f), of_b(0.0f, size);
      for (int64_t i = 0; i < rank * k; ++i) a.values.push_back(of_a(random));
      for (int64_t i = 0; i < n * rank; ++i) b.values.push_back(of_b(random));
      std::vector<float>& w = merged.back().values;
      for (int64_t r = 0; r < n; ++r)
        for (int64_t c = 0; c < k; ++c)
          for (int64_t j = 0; j < rank; ++j)
            w[static_cast<size_t>(r * k + c)] += 2.0f *
                                                 b.values[static_cast<size_t>(r * rank + j)] *
                                                 a.values[static_cast<size_t>(j * k + c)];
      adapter.push_back(std::move(a));
      adapter.push_back(std::move(b));
      adapter.push_back({"transformer." + name + ".alpha", {1}, {2.0f * static_cast<float>(rank)}});
    }
    write(folder_ / "adapter.safetensors", adapter);
    write(folder_ / "merged.safetensors", merged);
  }
  AdapterUse use(float strength = 1.0f) const {
    return {*AdapterFile::open(folder_ / "adapter.safetensors"), strength};
  }
  std::filesystem::path merged() const { return folder_ / "merged.safetensors"; }

 private:
  TempFolder folder_;
};

// Of the velocity, as of the same precisions without adapters (stored_formats_test.cpp).
double tolerance(Precision precision) {
  if (precision == Precision::kFp32) return 2e-5;
  return precision == Precision::kBf16 ? 2e-2 : 4e-2;
}

TEST(IdeogramAdapters, ABranchBesideEveryLinearIsTheMergedModel) {
  const std::filesystem::path base = format_path("base/diffusers");
  const Context host = test::host_context();
  const std::vector<float> without = velocity_of(host, base, {}, Precision::kFp32);
  for (const int64_t rank : {4, 16, 64}) {
    const EveryLinear adapter(rank);
    const std::vector<float> merged = velocity_of(host, adapter.merged(), {}, Precision::kFp32);
    const double change = relative_error(without, merged);
    EXPECT_TRUE(change > 0.3 && std::isfinite(change)) << change;  // of what is drawn
    test::each_device([&](const Context& context, const std::string& device) {
      for (const Precision precision :
           {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
        SCOPED_TRACE(fmt::format("rank {} {} {}", rank, precision_name(precision), device));
        EXPECT_LT(relative_error(velocity_of(context, base, {adapter.use()}, precision), merged),
                  tolerance(precision));
      }
    });
  }
}

// Checkpoints that were quantized, in their own grids: at fp32 as far from the merged model as
// their bits leave them, at int8 within int8's own error of that.
TEST(IdeogramAdapters, AQuantizedBaseKeepsItsGrid) {
  struct Base {
    const char* path;
    double most;
  };
  const Base bases[] = {{"comfy_int8_rowwise/model.safetensors", 0.01},
                        {"comfy_int8_convrot64/model.safetensors", 0.01},
                        {"fp8_plain/e4m3.safetensors", 0.08},
                        {"bnb_nf4_nested/model.safetensors", 0.15}};
  const EveryLinear adapter(8);
  const Context host = test::host_context();
  const std::vector<float> merged = velocity_of(host, adapter.merged(), {}, Precision::kFp32);
  for (const Base& base : bases) {
    const std::filesystem::path path = format_path(base.path);
    const std::vector<float> floats = velocity_of(host, path, {adapter.use()}, Precision::kFp32);
    EXPECT_LT(relative_error(floats, merged), base.most) << base.path;
    test::each_device([&](const Context& context, const std::string& device) {
      SCOPED_TRACE(std::string(base.path) + " " + device);
      EXPECT_LT(
          relative_error(velocity_of(context, path, {adapter.use()}, Precision::kInt8), floats),
          0.02);
    });
  }
}

TEST(IdeogramAdapters, TwoAddUpAndNoneIsStrengthZero) {
  const std::filesystem::path base = format_path("base/reference");
  const EveryLinear adapter(4), other(6, 2);
  const Context host = test::host_context();
  const auto velocity = [&](const std::vector<AdapterUse>& uses,
                            Precision precision = Precision::kFp32) {
    return velocity_of(host, base, uses, precision);
  };
  const std::vector<float> once = velocity({adapter.use()});
  EXPECT_LT(relative_error(velocity({adapter.use(0.25f), adapter.use(0.75f)}), once), 1e-5);
  // One of either beside the other merged.
  const std::vector<float> both = velocity({adapter.use(), other.use()});
  EXPECT_LT(
      relative_error(velocity_of(host, adapter.merged(), {other.use()}, Precision::kFp32), both),
      1e-5);
  const double change = relative_error(once, both);
  EXPECT_TRUE(change > 0.1 && std::isfinite(change)) << change;
  for (const Precision precision : {Precision::kFp32, Precision::kInt8})
    EXPECT_EQ(velocity({adapter.use(0.0f)}, precision), velocity({}, precision));
}

TEST(IdeogramAdapters, OneThatFitsAnotherSizeIsRefused) {
  TempFolder folder;
  const std::string name = "transformer.layers.0.attention.to_q.lora_";
  write(folder / "a.safetensors", {{name + "A.weight", {2, 128}, std::vector<float>(256)},
                                   {name + "B.weight", {128, 2}, std::vector<float>(256)}});
  TransformerOptions options;
  options.adapters = {{*AdapterFile::open(folder / "a.safetensors")}};
  const auto matched = Transformer(small_config(), options).match_adapters();
  ASSERT_FALSE(matched);
  EXPECT_NE(matched.error().message.find("found F32 [2, 128], layers.0.attention.to_q of the model "
                                         "takes [2, 64]"),
            std::string::npos)
      << matched.error().message;
}

}  // namespace
}  // namespace intaglio::ideogram4
