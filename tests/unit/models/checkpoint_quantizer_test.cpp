// Whole checkpoints quantized, against those that ComfyUI's code wrote of the same weights.
#include "models/checkpoint_quantizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& file) { return test::source_path("tests/formats/" + file); }

CheckpointQuantizer plan(const fs::path& source, const QuantizeOptions& options) {
  auto quantizer = CheckpointQuantizer::plan(Checkpoint::open(source).value(), options);
  EXPECT_TRUE(quantizer) << quantizer.error().message;
  return std::move(*quantizer);
}

class CheckpointQuantizerTest : public testing::Test {
 protected:
  QuantizeReport write(const fs::path& source, const QuantizeOptions& options,
                       const fs::path& target, const std::atomic<bool>* cancel = nullptr) {
    Context context;
    context.threads = 2;
    context.cancel = cancel;
    const auto report =
        plan(source, options).write(context, folder_ / target, [](int64_t, int64_t) {});
    EXPECT_TRUE(report) << report.error().message;
    return *report;
  }
  std::string bytes(const fs::path& file) { return read_file(folder_ / file).value(); }
  std::shared_ptr<const SafetensorsFile> open(const fs::path& file) {
    return SafetensorsFile::open(folder_ / file).value();
  }

  TempFolder temp_;
  fs::path folder_ = temp_.path();
};

std::string bytes_of(const TensorEntry& entry) {
  const Tensor tensor = read_tensor(entry).value();
  return {tensor.view.as<char>(), tensor.view.size_bytes()};
}

// A copy of `source`, ComfyUI's, in which `module` asks for a product of floats.
void write_float_product(const fs::path& source, const fs::path& target,
                         const std::string& module) {
  const auto file = SafetensorsFile::open(source).value();
  const std::string text = R"({"format": "int8_tensorwise", "full_precision_matrix_mult": true})";
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  for (TensorEntry entry : file->tensors()) {
    tensors.push_back(read_tensor(entry).value());
    entry.view = tensors.back().view;
    if (entry.name == module + ".comfy_quant")
      entry.view = {text.data(), DType::kU8, Shape{static_cast<int64_t>(text.size())}};
    entries.push_back(std::move(entry));
  }
  ASSERT_TRUE(write_safetensors(target, entries, {}));
}

// Of the linears that both quantize: weights, scales, descriptors, and every float, byte by byte.
void expect_same(const SafetensorsFile& written, const SafetensorsFile& expected) {
  int quantized = 0;
  for (const TensorEntry& entry : written.tensors()) {
    const TensorEntry* const other = expected.find(entry.name);
    if (entry.name.ends_with("adaln_proj.weight") ||
        entry.name.ends_with(".adaln_modulation.weight"))
      continue;  // ComfyUI's writer was told to quantize these too
    ASSERT_NE(other, nullptr) << entry.name;
    EXPECT_EQ(entry.view.dtype, other->view.dtype) << entry.name;
    EXPECT_EQ(entry.view.shape, other->view.shape) << entry.name;
    EXPECT_EQ(bytes_of(entry), bytes_of(*other)) << entry.name;
    quantized += entry.view.dtype == DType::kI8;
  }
  EXPECT_EQ(quantized, 6);
}

TEST_F(CheckpointQuantizerTest, WritesWhatComfyWrites) {
  const fs::path source = golden("base/reference/model.safetensors");
  const QuantizeReport row = write(source, {.scheme = QuantizeScheme::kRow}, "row.safetensors");
  EXPECT_EQ(row.quantized, 6);
  EXPECT_EQ(row.turned, 0);
  expect_same(*open("row.safetensors"),
              *SafetensorsFile::open(golden("comfy_int8_rowwise/model.safetensors")).value());
  const QuantizeReport turned = write(source, {}, "convrot.safetensors");
  EXPECT_EQ(turned.turned, 6);
  expect_same(*open("convrot.safetensors"),
              *SafetensorsFile::open(golden("comfy_int8_convrot256/model.safetensors")).value());
  write(source, {.group = 16}, "convrot16.safetensors");
  expect_same(*open("convrot16.safetensors"),
              *SafetensorsFile::open(golden("comfy_int8_convrot16/model.safetensors")).value());
}

TEST_F(CheckpointQuantizerTest, SplitAndFusedSourcesGiveTheSameFile) {
  write(golden("base/reference/model.safetensors"), {}, "fused.safetensors");
  write(golden("base/diffusers"), {}, "split.safetensors");
  EXPECT_EQ(bytes("fused.safetensors"), bytes("split.safetensors"));
  const QuantizeOptions split{.layout = CheckpointLayout::kDiffusers};
  write(golden("base/reference/model.safetensors"), split, "a.safetensors");
  write(golden("base/diffusers"), split, "b.safetensors");
  EXPECT_EQ(bytes("a.safetensors"), bytes("b.safetensors"));
}

// What diffusers' quantizer for SDNQ finds: int8 rows, their scales under SDNQ's name, nothing of
// ComfyUI's, and a config that names each matrix of floats. Read here, they are the linears that
// ComfyUI's layout has.
TEST_F(CheckpointQuantizerTest, DiffusersLayoutIsThatOfSdnq) {
  const fs::path source = golden("base/diffusers");
  const CheckpointQuantizer quantizer = plan(source, {.layout = CheckpointLayout::kDiffusers});
  write(source, {.layout = CheckpointLayout::kDiffusers}, "d.safetensors");
  write(source, {}, "comfy.safetensors");
  const auto file = open("d.safetensors");
  int scales = 0;
  for (const TensorEntry& entry : file->tensors()) {
    EXPECT_EQ(entry.name.find("comfy_quant"), std::string::npos) << entry.name;
    EXPECT_EQ(entry.name.find("weight_scale"), std::string::npos) << entry.name;
    if (!entry.name.ends_with(".scale")) continue;
    ++scales;
    const std::string module = entry.name.substr(0, entry.name.rfind('.'));
    const TensorView& weight = file->find(module + ".weight")->view;
    EXPECT_EQ(weight.dtype, DType::kI8) << module;
    EXPECT_EQ(entry.view.dtype, DType::kF32) << module;
    EXPECT_EQ(entry.view.shape, (Shape{weight.shape[0], 1})) << module;
  }
  EXPECT_EQ(scales, 8);
  EXPECT_FALSE(file->metadata().contains("_quantization_metadata"));
  EXPECT_EQ(file->metadata().at("format"), "pt");
  const auto json = nlohmann::json::parse(quantizer.quantization_config());
  EXPECT_EQ(json.at("quant_method"), "sdnq");
  for (const TensorEntry& entry : file->tensors()) {
    if (entry.view.shape.rank != 2 || !entry.name.ends_with(".weight")) continue;
    const bool is_float = entry.view.dtype != DType::kI8;
    EXPECT_EQ(
        json.at("modules_to_not_convert").dump().find('"' + entry.name + '"') != std::string::npos,
        is_float)
        << entry.name;
  }
  const auto split = StoredWeights::open(file, quantizer.quantization_config());
  ASSERT_TRUE(split) << split.error().message;
  EXPECT_STREQ((*split)->format(), "sdnq");
  const auto fused = StoredWeights::open(open("comfy.safetensors")).value();
  for (const char* const name :
       {"layers.0.feed_forward.w1", "layers.0.feed_forward.w2", "llm_cond_proj"}) {
    const auto a = (*split)->linear(name), b = fused->linear(name);
    ASSERT_TRUE(a && b) << name;
    EXPECT_EQ(a->linear.encoding, Encoding::kInt8Rows) << name;
    EXPECT_EQ(a->linear.rotation, b->linear.rotation) << name;
    ASSERT_EQ(a->linear.values.size_bytes(), b->linear.values.size_bytes());
    EXPECT_EQ(
        std::memcmp(a->linear.values.data, b->linear.values.data, a->linear.values.size_bytes()), 0)
        << name;
    EXPECT_EQ(
        std::memcmp(a->linear.scales.data, b->linear.scales.data, a->linear.scales.size_bytes()), 0)
        << name;
  }
  EXPECT_EQ(plan(source, {}).quantization_config(), "");
}

// SDNQ's rows cannot say that they are to be multiplied as floats: such a linear becomes floats.
TEST_F(CheckpointQuantizerTest, FloatProductsAreFloatsInTheDiffusersLayout) {
  const fs::path source = folder_ / "asks.safetensors";
  write_float_product(golden("comfy_int8_rowwise/model.safetensors"), source,
                      "layers.0.feed_forward.w1");
  write(source, {.layout = CheckpointLayout::kDiffusers}, "d.safetensors");
  EXPECT_EQ(open("d.safetensors")->find("layers.0.feed_forward.w1.weight")->view.dtype,
            DType::kBF16);
  EXPECT_EQ(open("d.safetensors")->find("layers.0.feed_forward.w2.weight")->view.dtype, DType::kI8);
  write(source, {.scheme = QuantizeScheme::kRow}, "comfy.safetensors");
  EXPECT_EQ(open("comfy.safetensors")->find("layers.0.feed_forward.w1.weight")->view.dtype,
            DType::kI8);
}

TEST_F(CheckpointQuantizerTest, WhatIsQuantizedGoesInAsItIs) {
  const QuantizeOptions options{.group = 64};
  write(golden("comfy_int8_convrot64/header_only.safetensors"), options, "again.safetensors");
  const auto written = open("again.safetensors");
  const auto expected =
      SafetensorsFile::open(golden("comfy_int8_convrot64/header_only.safetensors")).value();
  for (const char* const name : {"layers.0.attention.qkv.weight", "layers.0.feed_forward.w2.weight",
                                 "layers.0.feed_forward.w1.weight_scale"})
    EXPECT_EQ(bytes_of(*written->find(name)), bytes_of(*expected->find(name))) << name;
}

TEST_F(CheckpointQuantizerTest, ReadersFindBothDescriptors) {
  write(golden("base/reference/model.safetensors"), {}, "x.safetensors");
  const auto weights = StoredWeights::open(open("x.safetensors"));
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_STREQ((*weights)->format(), "comfy");
  EXPECT_EQ((*weights)->find_linear("layers.0.feed_forward.w1")->rotation, Rotation::convrot(64));
  EXPECT_EQ((*weights)->find_linear("llm_cond_proj")->rotation, Rotation::convrot(16));
  EXPECT_NE(
      open("x.safetensors")->metadata().at("_quantization_metadata").find("\"llm_cond_proj\": {"),
      std::string::npos);
}

TEST_F(CheckpointQuantizerTest, KeepsWhatItIsToldTo) {
  const fs::path source = golden("base/diffusers");
  write(source, {.keep = {"layers.*.attention.to_k", "*.w2"}}, "kept.safetensors");
  const auto file = open("kept.safetensors");
  // A fused weight has one form.
  EXPECT_EQ(file->find("layers.0.attention.qkv.weight")->view.dtype, DType::kBF16);
  EXPECT_EQ(file->find("layers.0.feed_forward.w2.weight")->view.dtype, DType::kBF16);
  EXPECT_EQ(file->find("layers.0.feed_forward.w1.weight")->view.dtype, DType::kI8);
  const auto refused = CheckpointQuantizer::plan(Checkpoint::open(source).value(),
                                                 {.keep = {"layers.*.attention.to_x"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("to_x"), std::string::npos);
}

// Their sizes are not those that the model is known in, and final_layer.linear has 16 rows of 32.
TEST_F(CheckpointQuantizerTest, RefusesPaddedWeights) {
  const auto refused = CheckpointQuantizer::plan(
      Checkpoint::open(golden("comfy_mxfp8/model.safetensors")).value(), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("pads to multiples of 32"), std::string::npos);
}

// Every form of ComfyUI's and others' is a source: what comes out is near what went in.
TEST_F(CheckpointQuantizerTest, TakesSourcesOfOtherFormats) {
  for (const char* const source :
       {"bnb_nf4/transformer", "ideogram_fp8/transformer", "comfy_convrot_w4a4/model.safetensors",
        "torchao_int8/w8a8.safetensors", "sdnq_int8/model", "gguf_q8_0/city96.gguf"}) {
    SCOPED_TRACE(source);
    write(golden(source), {}, "x.safetensors");
    const auto from = StoredWeights::open(Checkpoint::open(golden(source)).value()).value();
    const auto to = StoredWeights::open(open("x.safetensors")).value();
    for (const char* const name : {"layers.0.feed_forward.w2", "layers.0.feed_forward.w1"}) {
      const auto w = from->linear(name), q = to->linear(name);
      ASSERT_TRUE(w && q);
      ASSERT_EQ(q->linear.encoding, Encoding::kInt8Rows);
      const int64_t n = w->linear.n(), k = w->linear.k();
      double error = 0.0, norm = 0.0;
      std::vector<float> a(static_cast<size_t>(k)), b(a);
      for (int64_t r = 0; r < n; ++r) {
        dequantize_row(w->linear, r, a.data());
        dequantize_row(q->linear, r, b.data());
        for (size_t c = 0; c < a.size(); ++c) {
          error += std::pow(a[c] - b[c], 2);
          norm += std::pow(a[c], 2);
        }
      }
      EXPECT_LT(std::sqrt(error / norm), 0.01) << name;
    }
  }
}

// Plain floats, and floats of eight bits.
TEST_F(CheckpointQuantizerTest, NamesTheTensorThatIsNotFinite) {
  const auto refusal = [&](const char* source, const std::string& name, QuantizeScheme scheme) {
    const auto checkpoint = Checkpoint::open(golden(source)).value();
    std::vector<Tensor> tensors;
    std::vector<TensorEntry> entries;
    for (const TensorEntry* const tensor : checkpoint->tensors()) {
      tensors.push_back(read_tensor(*tensor).value());
      entries.push_back({.name = tensor->name, .view = tensors.back().view});
      if (tensor->name != name) continue;
      // At the end of row 1; ones alone are a NaN of every type.
      const auto bytes =
          static_cast<size_t>(tensor->view.shape[1]) * dtype_size(tensor->view.dtype);
      std::memset(tensors.back().memory.as<std::byte>() + 2 * bytes - 2, 0xFF, 2);
    }
    EXPECT_TRUE(write_safetensors(folder_ / "bad.safetensors", entries));
    Context context;
    context.threads = 2;
    const auto report = plan(folder_ / "bad.safetensors", {.scheme = scheme})
                            .write(context, folder_ / "x.safetensors", [](int64_t, int64_t) {});
    EXPECT_FALSE(report);
    EXPECT_FALSE(fs::exists(folder_ / "x.safetensors"));
    return report ? std::string() : report.error().message;
  };
  const std::string name = "layers.0.feed_forward.w2.weight";
  for (const QuantizeScheme scheme : {QuantizeScheme::kRow, QuantizeScheme::kConvRot}) {
    EXPECT_TRUE(refusal("base/reference/model.safetensors", name, scheme)
                    .ends_with(name + ": holds an Inf or a NaN"));
    EXPECT_TRUE(refusal("ideogram_fp8/transformer", name, scheme)
                    .ends_with(name + ": row 1 holds an Inf or a NaN"));
  }
}

TEST_F(CheckpointQuantizerTest, RefusesTensorsOfNoModel) {
  const auto refused =
      CheckpointQuantizer::plan(Checkpoint::open(golden("base/wide.safetensors")).value(), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("wide.*.weight"), std::string::npos);
}

// Ended after each of its bytes in turn, as far as a few places of each tensor stand for them all,
// a run is gone on with to the same file.
TEST_F(CheckpointQuantizerTest, GoesOnWhereItWasEnded) {
  const fs::path source = golden("base/reference/model.safetensors");
  std::atomic<bool> stop = false;
  Context context;
  context.threads = 2;
  context.cancel = &stop;
  const CheckpointQuantizer quantizer = plan(source, {});
  ASSERT_TRUE(quantizer.write(context, folder_ / "whole.safetensors", [](int64_t, int64_t) {}));
  const std::string whole = bytes("whole.safetensors");
  const auto ended = quantizer.write(context, folder_ / "x.safetensors",
                                     [&](int64_t done, int64_t) { stop = done == 5; });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, ErrorCode::kCancelled);
  stop = false;
  fs::path part;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (entry.path().extension() == ".part") part = entry.path();
  ASSERT_FALSE(part.empty());
  EXPECT_FALSE(fs::exists(folder_ / "x.safetensors"));
  EXPECT_EQ(whole.substr(0, fs::file_size(part)), read_file(part).value());
  for (size_t length = 0; length <= whole.size(); length += whole.size() / 41) {
    ASSERT_TRUE(write_file_atomic(part, whole.substr(0, length)));
    const auto report =
        quantizer.write(context, folder_ / "x.safetensors", [](int64_t, int64_t) {});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(bytes("x.safetensors"), whole) << length;
    EXPECT_FALSE(fs::exists(part));
  }
  // What another job has left is not gone on with.
  ASSERT_TRUE(write_file_atomic(part, whole));
  write(source, {.scheme = QuantizeScheme::kRow}, "x.safetensors");
  EXPECT_FALSE(fs::exists(part));
  EXPECT_NE(bytes("x.safetensors"), whole);
}

}  // namespace
}  // namespace intaglio
