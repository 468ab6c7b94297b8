// Adapter files of other programs on the linears that they were made for, against what their
// publishers' code merged; and what does not fit.
#include "models/parts/adapters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/memory.h"
#include "models/parts/modules.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

// Of Ideogram 4.
constexpr ModuleAlias kAliases[] = {{"attention.to_q", "attention.qkv", 0, 3},
                                    {"attention.to_k", "attention.qkv", 1, 3},
                                    {"attention.to_v", "attention.qkv", 2, 3},
                                    {"attention.to_out.0", "attention.o"}};

std::shared_ptr<CheckpointSource> base(const std::string& path = "base/reference") {
  return CheckpointSource::open(Checkpoint::open(format_path(path)).value(), kAliases).value();
}

struct Published {
  std::string name;
  float strength = 1.0f;
};
const Published kFiles[] = {{"ai_toolkit"},
                            {"diffusers"},
                            {"diffusers_metadata"},
                            {"kohya_alpha3_at_0.7", 0.7f},
                            {"peft_default_infix"},
                            {"loha"},
                            {"lokr"},
                            {"dora"},
                            {"diff"}};

AdapterUse use_of(const std::string& name, float strength = 1.0f) {
  auto file = AdapterFile::open(format_path("lora/" + name + ".safetensors"));
  EXPECT_TRUE(file) << file.error().message;
  return {*file, strength};
}

Adapters adapters_of(const std::vector<AdapterUse>& uses) {
  return {uses, "transformer", kAliases};
}

// The module, or the modules side by side, that a published linear is.
LinearModule module_of(const std::string& linear, int64_t n, int64_t k) {
  if (linear.ends_with("attention.qkv")) {
    return {
        .names = {"layers.0.attention.to_q", "layers.0.attention.to_k", "layers.0.attention.to_v"},
        .rows = {n / 3, n / 3, n / 3},
        .k = k};
  }
  if (linear.ends_with("attention.o"))
    return {.names = {"layers.0.attention.to_out.0"}, .rows = {n}, .k = k};
  return {.names = {linear}, .rows = {n}, .k = k};
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

std::vector<std::string> linears_of(const SafetensorsFile& expected, const std::string& file) {
  std::vector<std::string> linears;
  for (const TensorEntry& entry : expected.tensors())
    if (entry.name.starts_with(file + "/") && entry.name.ends_with("/W"))
      linears.push_back(entry.name.substr(file.size() + 1, entry.name.size() - file.size() - 3));
  return linears;
}

// Row `row` of the module's weight with its adapters merged, whatever their form.
std::vector<float> merged_row(const Adapters& adapters, const LinearModule& module, int64_t row,
                              bool merges) {
  const int64_t part = row / module.rows[0], at = row % module.rows[0];
  const std::string& name = module.names[static_cast<size_t>(part)];
  const Context context = test::host_context();
  LoadedLinear loaded = base()->linear(context, name, {module.rows[0], module.k}).value();
  EXPECT_TRUE(adapters.merge(context, name, loaded));
  std::vector<float> w(static_cast<size_t>(module.k)), work(3 * w.size());
  dequantize_row(loaded.linear, at, w.data());
  if (merges) return w;
  for (const Adapters::Found& found : adapters.find(name, module.rows[0])) {
    found.use->file->read_numbers(*found.module)
        .value()
        .merge_row(found.first + at, found.use->strength, w.data(), work.data());
  }
  return w;
}

TEST(Adapters, PublishedFilesMakeThePublishedWeights) {
  const auto expected = file_at("lora/merged.safetensors");
  size_t seen = 0;
  for (const auto& [file, strength] : kFiles) {
    const Adapters adapters = adapters_of({use_of(file, strength)});
    for (const std::string& linear : linears_of(*expected, file)) {
      SCOPED_TRACE(file + "/" + linear);
      const std::string at = file + "/" + linear;
      const TensorEntry& w = *expected->find(at + "/W");
      const int64_t k = w.view.shape[1], n = expected->find(at + "/y")->view.shape[1];
      const LinearModule module = module_of(linear, n, k);
      const bool merges = file == "loha" || file == "lokr" || file == "dora" || file == "diff";
      EXPECT_EQ(adapters.side_ranks({module.names, module.rows}) == 0, merges);
      const std::vector<float> rows = *read_floats(w);
      const Tensor which = *read_tensor(*expected->find(at + "/rows"));
      for (int64_t i = 0; i < w.view.shape[0]; ++i) {
        const std::vector<float> row(rows.begin() + i * k, rows.begin() + (i + 1) * k);
        EXPECT_LT(largest_difference(
                      merged_row(adapters, module, which.view.as<int32_t>()[i], merges), row),
                  1e-5 * static_cast<double>(largest(rows)));
      }
      ++seen;
    }
  }
  EXPECT_EQ(seen, 42u);
}

// The linear as a model loads it, with `adapters`.
LinearWeights load(const Context& context, const LinearModule& module, TensorSource& source,
                   const Adapters& adapters, Precision precision) {
  const LayerSelection selection{.precision = precision, .keep_bf16 = {}};
  PrepareModules prepare(context, source, selection, {}, adapters);
  DescribeModules describe(context, selection, &source, adapters);
  LinearWeights weights, planned;
  const Status status = prepare.linear(module, weights);
  EXPECT_TRUE(status) << status.error().message;
  EXPECT_TRUE(describe.linear(module, planned));
  EXPECT_EQ(linear_scratch_bytes(context, weights, 3, DType::kF32),
            linear_scratch_bytes(context, planned, 3, DType::kF32));
  EXPECT_EQ(weights.needs_float_rows(), planned.needs_float_rows());
  return weights;
}

TEST(Adapters, PublishedFilesMakeThePublishedProducts) {
  const auto expected = file_at("lora/merged.safetensors");
  const auto floats = [&](const std::string& name) { return *read_floats(*expected->find(name)); };
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    Context context{.threads = 2, .cpu = cpu};
    for (const auto& [file, strength] : kFiles) {
      const Adapters adapters = adapters_of({use_of(file, strength)});
      for (const std::string& linear : linears_of(*expected, file)) {
        SCOPED_TRACE(file + "/" + linear + " " + std::string(cpu_isa_name(cpu.isa)));
        const std::vector<float> y = floats(file + "/" + linear + "/y");
        const int64_t k = expected->find(file + "/" + linear + "/W")->view.shape[1];
        std::vector<float> x = floats(fmt::format("x/{}", k)), out(y.size());
        const auto n = static_cast<int64_t>(y.size()) / 3;
        const auto source = base();
        const LinearWeights weights =
            load(context, module_of(linear, n, k), *source, adapters, Precision::kFp32);
        auto arena =
            Arena::with_capacity(linear_scratch_bytes(context, weights, 3, DType::kF32)).value();
        context.scratch = &arena;
        const Activation input{DType::kF32, x.data(), 3, k, nullptr};
        ASSERT_TRUE(intaglio::linear(context, weights, input, out.data(), DType::kF32, n));
        EXPECT_LT(largest_difference(out, y), 1e-5 * static_cast<double>(largest(y)));
      }
    }
  }
}

TEST(Adapters, DifferencesOfABiasAreAdded) {
  const auto expected = file_at("lora/merged.safetensors");
  const std::string name = "layers.0.adaln_modulation.bias";
  const auto source = base();
  Tensor bias = source->tensor(name, {256}).value();
  ASSERT_TRUE(adapters_of({use_of("diff")}).add_to(name, bias));
  const std::vector<float> sum = *read_floats(*expected->find("diff/" + name));
  const std::vector<float> got(bias.view.as<float>(), bias.view.as<float>() + 256);
  EXPECT_LT(largest_difference(got, sum), 1e-6 * static_cast<double>(largest(sum)));
}

// Of a linear stored as int8 rows: those stay beside a branch, and go through floats to be merged.
TEST(Adapters, AnInt8BaseStaysAsItIsBesideABranch) {
  const Context context = test::host_context();
  const auto source = base("comfy_int8_rowwise/model.safetensors");
  const LinearModule out{
      .names = {"layers.0.attention.to_out.0"}, .rows = {64}, .k = 64, .quantized = true};
  const LinearWeights plain = load(context, out, *source, {}, Precision::kInt8);
  const LinearWeights beside =
      load(context, out, *source, adapters_of({use_of("ai_toolkit")}), Precision::kInt8);
  const LinearWeights merged =
      load(context, out, *source, adapters_of({use_of("loha")}), Precision::kInt8);
  ASSERT_NE(beside.side, nullptr);
  EXPECT_EQ(beside.side->rank, 16);  // of 4, padded
  EXPECT_TRUE(beside.as_stored);
  EXPECT_EQ(merged.side, nullptr);
  EXPECT_FALSE(merged.as_stored);
  EXPECT_EQ(merged.kind, LinearKind::kS8);
  const auto bytes = [](const LinearWeights& w) {
    const auto* const begin = static_cast<const char*>(w.data());
    return std::string(begin, begin + w.n * w.k);
  };
  EXPECT_EQ(bytes(beside), bytes(plain));
  EXPECT_NE(bytes(merged), bytes(plain));
}

TEST(Adapters, OneThatIsFusedTakesItsRankOnce) {
  const std::vector<std::string> names{"layers.0.attention.to_q", "layers.0.attention.to_k",
                                       "layers.0.attention.to_v"};
  const std::vector<int64_t> rows{64, 64, 64};
  EXPECT_EQ(adapters_of({use_of("ai_toolkit")}).side_ranks({names, rows}), 4);
  EXPECT_EQ(adapters_of({use_of("diffusers")}).side_ranks({names, rows}), 12);
  const std::vector<AdapterUse> both{use_of("ai_toolkit"), use_of("diffusers")};
  EXPECT_EQ(adapters_of(both).side_ranks({names, rows}), 16);
  EXPECT_EQ(adapters_of({use_of("ai_toolkit", 0.0f)}).side_ranks({names, rows}), 0);
  const Adapters other(both, "unconditional_transformer", kAliases);
  EXPECT_EQ(other.side_ranks({names, rows}), 0);
}

// ---- What does not fit.

struct Written {
  std::string name;
  Shape shape;
  float value = 0.5f;
};

class BadAdapters : public testing::Test {
 protected:
  Expected<std::shared_ptr<const AdapterFile>> write(
      const std::vector<Written>& tensors, const std::map<std::string, std::string>& header = {}) {
    std::vector<std::vector<float>> values;
    std::vector<TensorEntry> entries;
    for (const Written& one : tensors) {
      values.emplace_back(static_cast<size_t>(one.shape.count()), one.value);
      entries.push_back({one.name, {values.back().data(), DType::kF32, one.shape}});
    }
    EXPECT_TRUE(write_safetensors(folder_ / "a.safetensors", entries, header));
    return AdapterFile::open(folder_ / "a.safetensors");
  }
  // What a model with the linear "layers.0.attention.to_q" [64, 32] and a bias says of it.
  Status match(const std::vector<Written>& tensors) {
    auto file = write(tensors);
    if (!file) return tl::unexpected<Error>(file.error());
    const std::vector<AdapterUse> uses{{*file}};
    AdapterMatch match(adapters_of(uses));
    INTAGLIO_TRY(match.linear("layers.0.attention.to_q", {64, 32}, true));
    matched_ = match.tensors().size();
    return {};
  }

  TempFolder folder_;
  size_t matched_ = 0;
};

TEST_F(BadAdapters, AreRefusedInWords) {
  const std::string q = "transformer.layers.0.attention.to_q.";
  const auto expect = [&](const std::vector<Written>& tensors, const std::string& words) {
    const Status status = match(tensors);
    ASSERT_FALSE(status) << words;
    EXPECT_THAT(status.error().message, testing::HasSubstr(words));
    EXPECT_THAT(status.error().message, testing::HasSubstr("a.safetensors: "));
  };
  expect({{q + "lora_A.weight", {4, 32}}}, "lora_A.weight: its other factor is missing");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 5}}},
         "lora_A.weight: found F32 [4, 32], expected 5 rows");
  expect({{q + "lora_A.weight", {4, 33}}, {q + "lora_B.weight", {64, 4}}},
         "lora_A.weight: found F32 [4, 33], layers.0.attention.to_q of the model takes [4, 32]");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {65, 4}}},
         "lora_B.weight: found F32 [65, 4], layers.0.attention.to_q of the model takes [64, 4]");
  expect({{q + "lora_A.weight", {4, 32, 1}}, {q + "lora_B.weight", {64, 4}}},
         "lora_A.weight: found F32 [4, 32, 1], expected a matrix of F32, F16 or BF16");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 4}}, {q + "alpha", {2}}},
         "alpha: found F32 [2], expected one float");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 4}}, {q + "alpha", {1}, NAN}},
         "alpha: holds an Inf or a NaN");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 4}}, {q + "lora_A.bias", {4}}},
         "lora_A.bias: adapters of this form are not computed here");
  expect({{q + "lora_A.weight", {4, 32}},
          {q + "lora_B.weight", {64, 4}},
          {q + "lora_magnitude_vector", {32}}},
         "lora_magnitude_vector: found F32 [32], expected floats [64, 1]");
  expect({{q + "lora_A.weight", {4, 32}},
          {q + "lora_B.weight", {64, 4}},
          {q + "dora_scale", {64, 1}},
          {q + "lora_magnitude_vector", {64}}},
         "is DoRA too");
  expect({{q + "lora_magnitude_vector.weight", {64}}}, "stands without the factors it scales");
  expect(
      {{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 4}}, {q + "lora_B.bias", {63}}},
      "lora_B.bias: found F32 [63], expected floats [64]");
  expect({{q + "lora_B.bias", {64}}}, "lora_B.bias: stands without the factors it belongs to");
  expect({{q + "lora_A.weight", {4, 32}},
          {q + "lora_B.weight", {64, 4}},
          {q + "lora_B.bias", {64}},
          {q + "lora_magnitude_vector", {64}}},
         "lora_B.bias: found beside another form, expected beside low rank alone");
  expect({{q + "dora_scale", {64, 1}}}, "dora_scale: stands without the factors it scales");
  expect(
      {{q + "lora_A.weight", {4, 32}}, {q + "lora_B.weight", {64, 4}}, {q + "dora_scale", {1, 32}}},
      "dora_scale: found F32 [1, 32], expected floats [64, 1]");
  expect({{q + "hada_w1_a", {64, 2}}, {q + "hada_w1_b", {2, 32}}},
         "one of LoHa's two products is missing");
  expect({{q + "lokr_w1", {4, 4}}}, "expected lokr_w2 or both lokr_w2_a and lokr_w2_b");
  expect({{q + "lokr_w1", {4, 4}}, {q + "lokr_w2", {4, 8}}}, "makes a weight [16, 32]");
  expect({{q + "diff", {32, 64}}}, "diff: makes a weight [32, 64]");
  expect({{q + "diff", {64, 32}}, {q + "lokr_w1", {4, 4}}, {q + "lokr_w2", {4, 8}}},
         "makes a weight [64, 32], and");
  expect({{q + "diff_b", {63}}}, "diff_b: found F32 [63]");
  expect({{q + "lora_A.weight", {4, 32}}, {q + "lora_down.weight", {4, 32}}},
         "are one tensor's name");
}

TEST_F(BadAdapters, NumbersThatAreNotFiniteAreRefusedWhenTheyAreRead) {
  const std::string q = "transformer.layers.0.attention.to_q.";
  const std::vector<AdapterUse> uses{
      {*write({{q + "lora_A.weight", {4, 64}, INFINITY}, {q + "lora_B.weight", {64, 4}}})}};
  const auto source = base();
  const Context context = test::host_context();
  const LayerSelection selection{.precision = Precision::kFp32, .keep_bf16 = {}};
  PrepareModules prepare(context, *source, selection, {}, adapters_of(uses));
  LinearWeights weights;
  const Status status =
      prepare.linear({.names = {"layers.0.attention.to_q"}, .rows = {64}, .k = 64}, weights);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, testing::HasSubstr("lora_A.weight: holds an Inf or a NaN"));
  // Sums that overflow.
  const std::vector<AdapterUse> large{{*write({{q + "diff", {64, 64}, 3e38f}}), 100.0f}};
  LoadedLinear loaded = source->linear(context, "layers.0.attention.to_q", {64, 64}).value();
  const Status merged = adapters_of(large).merge(context, "layers.0.attention.to_q", loaded);
  ASSERT_FALSE(merged);
  EXPECT_THAT(merged.error().message, testing::HasSubstr("holds an Inf or a NaN"));
}

TEST_F(BadAdapters, NamesOfNoModuleAreNotMatched) {
  const std::string q = "lora_unet_layers_0_attention_to_q.";
  ASSERT_TRUE(match({{q + "lora_down.weight", {4, 32}},
                     {q + "lora_up.weight", {64, 4}},
                     {q + "alpha", {1}},
                     {q + "diff_b", {64}},
                     {"lora_te_layers_0_attention_to_q.lora_down.weight", {4, 32}},
                     {"lora_unet_layers_9_attention_to_q.lora_down.weight", {4, 32}},
                     {"something.else", {1}}}));
  EXPECT_EQ(matched_, 4u);
}

TEST_F(BadAdapters, TheHeaderSaysAlphaByName) {
  const std::string p = "transformer.layers.";
  const auto file = *write({{p + "0.w.lora_A.weight", {4, 8}},
                            {p + "0.w.lora_B.weight", {8, 4}},
                            {p + "1.w.lora_A.weight", {2, 8}},
                            {p + "1.w.lora_B.weight", {8, 2}}},
                           {{"lora_adapter_metadata",
                             R"({"transformer.r": 4, "transformer.lora_alpha": 8,
                                 "transformer.rank_pattern": {"1.w": 2},
                                 "transformer.alpha_pattern": {"layers.1.w": 3}})"}});
  const auto factor = [&](const std::string& name) {
    return file->read_numbers(*file->find("transformer", name))->factor();
  };
  EXPECT_EQ(factor("layers.0.w"), 2.0f);
  EXPECT_EQ(factor("layers.1.w"), 1.5f);
  EXPECT_FALSE(write({{p + "0.w.lora_A.weight", {4, 8}}}, {{"lora_adapter_metadata", "{"}}));
}

TEST_F(BadAdapters, PeftsOwnFilesHaveTheirConfigBeside) {
  const std::string p = "base_model.model.layers.0.w.lora_";
  const std::vector<Written> tensors{{p + "A.weight", {4, 8}}, {p + "B.weight", {8, 4}}};
  EXPECT_THAT(write(tensors).error().message, testing::HasSubstr("adapter_config.json"));
  folder_.write("adapter_config.json", R"({"r": 4, "lora_alpha": 8, "use_rslora": true})");
  const auto file = write(tensors);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->read_numbers(*(*file)->find("transformer", "layers.0.w"))->factor(), 4.0f);
}

}  // namespace
}  // namespace intaglio
