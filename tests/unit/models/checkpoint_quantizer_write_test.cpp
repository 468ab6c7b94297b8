// What goes into the files beside plain quantization: adapters, shards, other programs' names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "core/files.h"
#include "core/philox.h"
#include "core/round_floats.h"
#include "io/safetensors_writer.h"
#include "models/checkpoint_quantizer.h"
#include "models/parts/unmatched_adapters.h"
#include "support/temp_folder.h"
#include "support/tested_cpus.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

AdapterUse use_of(const fs::path& file, float strength = 1.0f) {
  return {AdapterFile::open(file).value(), strength};
}
fs::path lora(const std::string& name) { return format_path("lora/" + name + ".safetensors"); }

std::string bytes_of(const TensorEntry& entry) {
  const Tensor tensor = read_tensor(entry).value();
  return {tensor.view.as<char>(), tensor.view.size_bytes()};
}

class WrittenCheckpoint : public testing::Test {
 protected:
  QuantizeReport write(const fs::path& source, const QuantizeOptions& options,
                       const std::string& target) {
    const auto quantizer = CheckpointQuantizer::plan(Checkpoint::open(source).value(), options);
    EXPECT_TRUE(quantizer) << quantizer.error().message;
    const auto report =
        quantizer->write(test::host_context(), folder_ / target, [](int64_t, int64_t) {});
    EXPECT_TRUE(report) << report.error().message;
    beside_[target] = quantizer->quantization_config();
    return *report;
  }
  std::string bytes(const std::string& file) { return read_file(folder_ / file).value(); }
  std::shared_ptr<const Checkpoint> open(const std::string& file) {
    return Checkpoint::open(folder_ / file).value();
  }
  // With what config.json beside it has to say.
  std::shared_ptr<const StoredWeights> weights(const std::string& file) {
    return StoredWeights::open(SafetensorsFile::open(folder_ / file).value(), beside_[file])
        .value();
  }
  std::vector<float> row(const std::string& file, const std::string& linear, int64_t at) {
    const auto weights = this->weights(file);
    const LoadedLinear loaded = weights->linear(linear).value();
    std::vector<float> values(static_cast<size_t>(loaded.linear.k()));
    dequantize_row(loaded.linear, at, values.data());
    return values;
  }

  TempFolder temp_;
  fs::path folder_ = temp_.path();
  std::map<std::string, std::string> beside_;
  const fs::path base_ = format_path("base/reference");
};

// Against what ComfyUI's and PEFT's code merged, as far as a code's half step, or bf16's rounding
// where the linear stays floats, allows.
TEST_F(WrittenCheckpoint, HoldsWhatPublishersMerge) {
  const auto merged = file_at("lora/merged.safetensors");
  int rows = 0;
  for (const std::string name :
       {"ai_toolkit", "diffusers", "diffusers_metadata", "kohya_alpha3_at_0.7",
        "peft_default_infix", "loha", "lokr", "dora", "diff"}) {
    const float strength = name.ends_with("0.7") ? 0.7f : 1.0f;
    QuantizeOptions options{.scheme = QuantizeScheme::kRow,
                            .adapters = {use_of(lora(name), strength)}};
    // Published under the names that each file has for them.
    const bool is_split = name.starts_with("diffusers");
    if (is_split) options.layout = CheckpointLayout::kDiffusers;
    write(base_, options, "x.safetensors");
    const auto weights = this->weights("x.safetensors");
    for (const TensorEntry& entry : merged->tensors()) {
      if (!entry.name.starts_with(name + "/") || !entry.name.ends_with("/W")) continue;
      SCOPED_TRACE(entry.name);
      const std::string at = entry.name.substr(0, entry.name.size() - 2);
      const std::string linear = at.substr(name.size() + 1);
      const std::vector<float> expected = *read_floats(entry);
      const Tensor which = *read_tensor(*merged->find(at + "/rows"));
      ASSERT_NE(weights->find_linear(linear), nullptr);
      const LoadedLinear loaded = weights->linear(linear).value();
      const auto k = static_cast<size_t>(entry.view.shape[1]);
      for (int64_t i = 0; i < entry.view.shape[0]; ++i) {
        const int32_t r = which.view.as<int32_t>()[i];
        const std::vector<float> found = row("x.safetensors", linear, r);
        for (size_t c = 0; c < k; ++c) {
          const float w = expected[static_cast<size_t>(i) * k + c];
          const double step = loaded.linear.encoding == Encoding::kInt8Rows
                                  ? 0.5 * static_cast<double>(loaded.linear.scales.as<float>()[r])
                                  : 0x1p-8 * std::fabs(static_cast<double>(w));
          ASSERT_NEAR(found[c], w, 1.0001 * step + 1e-5 * static_cast<double>(largest(expected)));
        }
        ++rows;
      }
    }
  }
  EXPECT_EQ(rows, 42 * 3);
}

TEST_F(WrittenCheckpoint, AdaptersOfFusedAndSplitSourcesGiveTheSameFile) {
  const std::vector<AdapterUse> uses{use_of(lora("ai_toolkit")), use_of(lora("lokr"), -0.5f)};
  write(base_, {.adapters = uses}, "fused.safetensors");
  write(format_path("base/diffusers"), {.adapters = uses}, "split.safetensors");
  EXPECT_EQ(bytes("fused.safetensors"), bytes("split.safetensors"));
  EXPECT_EQ(open("fused.safetensors")->files().front()->metadata().at(std::string(kAdaptersKey)),
            "ai_toolkit:1, lokr:-0.5");
  write(base_, {}, "plain.safetensors");
  EXPECT_NE(bytes("fused.safetensors"), bytes("plain.safetensors"));
  write(base_, {.adapters = {use_of(lora("ai_toolkit"), 0.0f)}}, "zero.safetensors");
  EXPECT_EQ(bytes("zero.safetensors"), bytes("plain.safetensors"));
}

// Rounded once, to the type that the tensor is stored in.
TEST_F(WrittenCheckpoint, DifferencesOfVectorsAndBiasesAreAdded) {
  std::vector<float> difference(64);
  for (size_t i = 0; i < difference.size(); ++i) difference[i] = 0.01f * static_cast<float>(i);
  const std::vector<TensorEntry> tensors{{.name = "diffusion_model.layers.0.ffn_norm1.diff",
                                          .view = {nullptr, DType::kF32, Shape{64}}}};
  auto writer = SafetensorsWriter::begin(folder_ / "norm.safetensors", tensors, {}, "").value();
  ASSERT_TRUE(writer.write(std::as_bytes(std::span(difference))));
  ASSERT_TRUE(writer.commit());
  write(base_,
        {.adapters = {use_of(lora("diff"), 0.5f), use_of(folder_ / "norm.safetensors", 2.0f)}},
        "x.safetensors");
  const auto file = open("x.safetensors");
  const auto before = Checkpoint::open(base_).value();
  const auto expect_added = [&](const std::string& name, const std::vector<float>& added,
                                float strength) {
    std::vector<float> sum = *read_floats(*before->find(name));
    ASSERT_EQ(sum.size(), added.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += strength * added[i];
    const TensorEntry& entry = *file->find(name);
    ASSERT_EQ(entry.view.dtype, DType::kBF16);
    std::string expected(sum.size() * 2, '\0');
    convert_from_f32(sum.data(), DType::kBF16, expected.data(), sum.size());
    EXPECT_EQ(bytes_of(entry), expected) << name;
  };
  expect_added("layers.0.ffn_norm1.weight", difference, 2.0f);
  expect_added("layers.0.adaln_modulation.bias",
               *read_floats(*file_at("lora/diff.safetensors")
                                 ->find("diffusion_model.layers.0.adaln_modulation.diff_b")),
               0.5f);
  EXPECT_EQ(bytes_of(*file->find("layers.0.ffn_norm2.weight")),
            bytes_of(*before->find("layers.0.ffn_norm2.weight")));
}

TEST_F(WrittenCheckpoint, TellsWhatOfAdaptersIsOfNoModule) {
  const std::vector<AdapterUse> uses{use_of(lora("diff"))};
  const auto quantizer =
      CheckpointQuantizer::plan(Checkpoint::open(base_).value(), {.adapters = uses}).value();
  EXPECT_EQ(quantizer.matched_adapters().size(), 3u);
  EXPECT_TRUE(unmatched_adapters(uses, quantizer.matched_adapters(), "ideogram4")->empty());
  const auto none = unmatched_adapters(uses, {}, "ideogram4");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("none of its 3 tensors"));
  // Of the transformer that the adapter is not for.
  const auto other =
      CheckpointQuantizer::plan(Checkpoint::open(base_).value(),
                                {.adapters = uses, .adapter_part = "unconditional_transformer"});
  EXPECT_TRUE(other->matched_adapters().empty());
  const auto text = CheckpointQuantizer::plan(
      Checkpoint::open(format_path("gguf_text_encoder/model.gguf")).value(), {.adapters = uses});
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, HasSubstr("adapters are merged into transformers"));
}

TEST_F(WrittenCheckpoint, ShardsHoldWhatOneFileHolds) {
  write(base_, {}, "one.safetensors");
  const auto one = open("one.safetensors");
  constexpr uint64_t kMost = 20000;
  const QuantizeReport report = write(base_, {.max_shard = kMost}, "cut.safetensors");
  ASSERT_GT(report.shards, 2);
  EXPECT_FALSE(fs::exists(folder_ / "cut.safetensors"));
  const auto cut = open("cut.safetensors.index.json");
  ASSERT_EQ(static_cast<int64_t>(cut->files().size()), report.shards);
  ASSERT_EQ(cut->tensors().size(), one->tensors().size());
  for (const TensorEntry* const entry : one->tensors()) {
    const TensorEntry* const found = cut->find(entry->name);
    ASSERT_NE(found, nullptr) << entry->name;
    EXPECT_EQ(bytes_of(*found), bytes_of(*entry)) << entry->name;
  }
  for (const auto& file : cut->files()) {
    uint64_t bytes = 0;
    for (const TensorEntry& entry : file->tensors()) bytes += entry.view.size_bytes();
    EXPECT_LE(bytes, kMost) << file->path();
  }
  EXPECT_TRUE(fs::exists(folder_ / fmt::format("cut-00001-of-{:05}.safetensors", report.shards)));
  const auto weights = StoredWeights::open(cut);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ((*weights)->find_linear("layers.0.feed_forward.w1")->rotation, Rotation::convrot(64));
  // A size that nothing exceeds cuts nothing.
  EXPECT_EQ(write(base_, {.max_shard = 1 << 20}, "whole.safetensors").shards, 1);
  EXPECT_EQ(bytes("whole.safetensors"), bytes("one.safetensors"));
}

TEST_F(WrittenCheckpoint, ShardsGoOnWhereTheyWereEnded) {
  const QuantizeOptions options{.max_shard = 20000};
  write(base_, options, "whole.safetensors");
  std::atomic<bool> stop = false;
  Context context = test::host_context();
  context.cancel = &stop;
  const auto quantizer =
      CheckpointQuantizer::plan(Checkpoint::open(base_).value(), options).value();
  const std::vector<fs::path> files = quantizer.files(folder_ / "x.safetensors");
  const std::vector<fs::path> expected = quantizer.files(folder_ / "whole.safetensors");
  for (int64_t last = 1; last < 30; last += 5) {
    const auto ended = quantizer.write(context, folder_ / "x.safetensors",
                                       [&](int64_t done, int64_t) { stop = done >= last; });
    ASSERT_FALSE(ended);
    // Nothing has its name before all is there.
    for (const fs::path& file : files) EXPECT_FALSE(fs::exists(file)) << file;
    stop = false;
  }
  const auto report = quantizer.write(context, folder_ / "x.safetensors", [](int64_t, int64_t) {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->resumed);
  for (size_t i = 0; i + 1 < files.size(); ++i)
    EXPECT_EQ(*read_file(files[i]), *read_file(expected[i])) << files[i];
  for (const auto& entry : fs::directory_iterator(folder_))
    EXPECT_NE(entry.path().extension(), ".part") << entry.path();
}

// llama.cpp's names become the publishers', with their place in a model that sees.
TEST_F(WrittenCheckpoint, TextEncodersOfLlamaCppTakeTheirPublishersNames) {
  const fs::path source = format_path("gguf_text_encoder/model.gguf");
  const QuantizeReport report = write(source, {.scheme = QuantizeScheme::kRow}, "te.safetensors");
  EXPECT_EQ(report.quantized, 21);
  write(source, {.layout = CheckpointLayout::kDiffusers}, "split.safetensors");
  const auto published = file_at("gguf_text_encoder/expected.safetensors");
  const auto comfy = StoredWeights::open(open("te.safetensors")).value();
  EXPECT_NE(open("split.safetensors")->find("language_model.layers.2.mlp.up_proj.scale"), nullptr);
  int compared = 0;
  for (const TensorEntry& entry : published->tensors()) {
    const std::string_view name = entry.name;
    if (!name.ends_with("/W")) continue;
    SCOPED_TRACE(name);
    const std::string at(name.substr(0, name.size() - 2));
    const std::string linear = "model." + at.substr(std::string_view("model/").size());
    const auto loaded = comfy->linear(linear);
    ASSERT_TRUE(loaded) << loaded.error().message;
    const std::vector<float> expected = *read_floats(entry);
    const Tensor which = *read_tensor(*published->find(at + "/rows"));
    const auto k = static_cast<size_t>(entry.view.shape[1]);
    const bool is_int8 = loaded->linear.encoding == Encoding::kInt8Rows;
    EXPECT_EQ(is_int8, linear.ends_with("_proj"));
    for (int64_t i = 0; i < entry.view.shape[0]; ++i) {
      const int32_t r = which.view.as<int32_t>()[i];
      const std::vector<float> found = row("te.safetensors", linear, r);
      for (size_t c = 0; c < k; ++c) {
        const float w = expected[static_cast<size_t>(i) * k + c];
        const double step = is_int8
                                ? 0.5 * static_cast<double>(loaded->linear.scales.as<float>()[r])
                                : 0x1p-8 * std::fabs(static_cast<double>(w));
        ASSERT_NEAR(found[c], w, 1.0001 * step + 2e-6 * static_cast<double>(largest(expected)));
      }
    }
    ++compared;
  }
  EXPECT_EQ(compared, 22);
  const auto written = open("te.safetensors");
  for (const TensorEntry* const entry : written->tensors())
    EXPECT_TRUE(entry->name.starts_with("model.language_model.")) << entry->name;
}

// Those whose inputs are known lose less of their outputs on them, the others are as they were.
TEST_F(WrittenCheckpoint, RoundsByWhatLinearsRead) {
  const fs::path base = format_path("base/diffusers");
  for (const QuantizeScheme scheme : {QuantizeScheme::kRow, QuantizeScheme::kConvRot}) {
    QuantizeOptions options{.scheme = scheme, .group = 16, .layout = CheckpointLayout::kDiffusers};
    write(base, options, "nearest.safetensors");
    constexpr int64_t kRows = 48;
    // 3 directions and a little of every row's own.
    const auto inputs = [](int64_t k) {
      std::vector<float> x(static_cast<size_t>(kRows * k));
      for (int64_t r = 0; r < kRows; ++r)
        for (int64_t c = 0; c < k; ++c) {
          float& value = x[static_cast<size_t>(r * k + c)];
          value = 0.1f * normal_at(1, static_cast<uint64_t>(r * k + c));
          for (uint64_t d = 0; d < 3; ++d)
            value += normal_at(2 + d, static_cast<uint64_t>(r)) *
                     normal_at(5 + d, static_cast<uint64_t>(c));
        }
      return std::make_shared<const std::vector<float>>(std::move(x));
    };
    const auto plan = CheckpointQuantizer::plan(Checkpoint::open(base).value(), options).value();
    const auto source = StoredWeights::open(Checkpoint::open(base).value()).value();
    std::set<std::string> fitted;
    for (const auto& [name, bytes] : plan.quantized()) {
      if (name.ends_with("w2")) continue;
      fitted.insert(name);
      const int64_t k = weights("nearest.safetensors")->linear(name).value().linear.k();
      options.inputs.emplace(name, inputs(k));
    }
    ASSERT_GT(fitted.size(), 3u);
    EXPECT_EQ(write(base, options, "fitted.safetensors").fitted,
              static_cast<int64_t>(fitted.size()));
    const auto error = [&](const std::string& file, const std::string& name) {
      const LoadedLinear from = source->linear(name).value();
      const std::vector<float>& x = *options.inputs.at(name);
      const auto k = static_cast<size_t>(from.linear.k());
      std::vector<float> exact(k);
      double squares = 0.0;
      for (int64_t n = 0; n < from.linear.n(); ++n) {
        dequantize_row(from.linear, n, exact.data());
        const std::vector<float> rounded = row(file, name, n);
        for (size_t r = 0; r < static_cast<size_t>(kRows); ++r) {
          double change = 0.0;
          for (size_t c = 0; c < k; ++c)
            change += (double{rounded[c]} - double{exact[c]}) * double{x[r * k + c]};
          squares += change * change;
        }
      }
      return std::sqrt(squares);
    };
    for (const std::string& name : fitted) {
      SCOPED_TRACE(name);
      EXPECT_LT(error("fitted.safetensors", name), 0.7 * error("nearest.safetensors", name));
    }
    for (const auto& [name, bytes] : plan.quantized()) {
      if (fitted.contains(name)) continue;
      EXPECT_EQ(row("fitted.safetensors", name, 0), row("nearest.safetensors", name, 0));
    }
  }
}

}  // namespace
}  // namespace intaglio
