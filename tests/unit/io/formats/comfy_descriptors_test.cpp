// What of ComfyUI's checkpoints is read, and what is refused in which words: descriptors, headers,
// scales.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "io/formats/comfy.h"
#include "io/formats/stored_weights.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "unit/io/formats/made_file.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

TEST(ComfyInt8Format, ARowOfScaleZeroIsZero) {
  const LoadedLinear loaded =
      *weights_at("bad/scale_zero.safetensors")->linear("layers.0.attention.o");
  int zeros = 0;
  for (int64_t r = 0; r < 6; ++r) {
    std::vector<float> row(32);
    dequantize_row(loaded.linear, r, row.data());
    zeros += loaded.linear.scales.as<float>()[r] == 0.0f && largest(row) == 0.0f;
  }
  EXPECT_EQ(zeros, 1);
}

TEST(ComfyInt8Format, ADescriptorWithoutARotationHasNone) {
  const auto weights = weights_at("bad/descriptor_no_format.safetensors");
  EXPECT_EQ(weights->linears().at("layers.0.attention.o").rotation, Rotation{});
}

// One int8 linear "a", k = 64.
MadeFile plain(const std::string& prefix = "") {
  MadeFile file;
  file.tensor(prefix + "a.weight", DType::kI8, {4, 64});
  file.tensor(prefix + "a.weight_scale", DType::kF32, {4, 1});
  return file;
}

// What a descriptor of {4, 64} says: the rotation, or the message.
std::string said(const std::string& json) {
  const auto read = parse_comfy_descriptor(json, "f: a.comfy_quant");
  if (!read) return read.error().message;
  return std::to_string(read->rotation.group) + (read->float_product ? " floats" : "");
}

TEST(ComfyInt8Format, DescriptorsAreReadAsTheirWritersMeanThem) {
  EXPECT_EQ(said(R"({"format": "int8_tensorwise"})"), "0");
  EXPECT_EQ(said(R"({"format": "int8"})"), "0");
  EXPECT_EQ(said(R"({"format": "int8_tensorwise", "convrot": true})"), "256");
  EXPECT_EQ(said(R"({"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 64})"),
            "64");
  EXPECT_EQ(said(R"({"format": "int8_tensorwise", "convrot": false, "convrot_groupsize": 64})"),
            "0");
  EXPECT_EQ(said(R"({"format": "int8_tensorwise", "convrot_groupsize": 64})"), "0");
  EXPECT_EQ(said(R"({"convrot": true, "convrot_groupsize": 16, "per_row": true})"), "16");
  EXPECT_EQ(said(R"({"per_row": true})"), "0");
  EXPECT_EQ(said(R"({"format": "int8_tensorwise", "full_precision_matrix_mult": true})"),
            "0 floats");
  const std::string params = R"({"format": "int8_tensorwise", "params": )";
  EXPECT_EQ(said(params + R"({"convrot": true, "convrot_groupsize": 16}})"), "16");
  EXPECT_EQ(said(params + R"({"convrot_groupsize": 16}, "convrot": true})"), "16");
  EXPECT_EQ(said(params + R"({"convrot": true}, "convrot_groupsize": 64})"), "64");
  EXPECT_EQ(said(params + R"({}, "convrot": true})"), "256");
  // Empty notes change nothing.
  EXPECT_EQ(said(R"({"format": "int8", "_by": "x", "group_size": null, "hadamard": false})"), "0");
}

TEST(ComfyInt8Format, DescriptorsThatSayMoreOrLessAreRefused) {
  EXPECT_EQ(
      said("{}"),
      "f: a.comfy_quant: format: missing, expected \"int8_tensorwise\" (or convrot, or per_row)");
  EXPECT_THAT(said("[]"), HasSubstr("f: a.comfy_quant: expected a JSON object, found an array"));
  EXPECT_THAT(said(""), HasSubstr("not valid JSON"));
  EXPECT_EQ(said(R"({"format": 8})"), "f: a.comfy_quant: format: expected a string, found 8");
  EXPECT_THAT(said(R"({"format": "int8_blockwise", "group_size": 32})"),
              HasSubstr("format: found \"int8_blockwise\", supported is"));
  EXPECT_THAT(said(R"({"format": "int8", "convrot": 1})"),
              HasSubstr("convrot: expected true or false, found 1"));
  EXPECT_THAT(said(R"({"format": "int8", "convrot": true, "convrot_groupsize": 64.0})"),
              HasSubstr("convrot_groupsize: expected an integer"));
  EXPECT_THAT(said(R"({"format": "int8", "hadamard": "sylvester"})"),
              HasSubstr("hadamard: not known, and may change what the numbers mean"));
  EXPECT_THAT(said(R"({"format": "int8", "params": {"zero_point": 3}})"),
              HasSubstr("params.zero_point: not known"));
  EXPECT_THAT(said(R"({"format": "int8", "params": 3})"), HasSubstr("params: expected an object"));
  EXPECT_THAT(said(R"({"format": "int8", "convrot": true, "params": {"convrot": false}})"),
              HasSubstr("convrot: another value than in params"));
}

TEST(ComfyInt8Format, HeadersMayLackTheTensorsPrefix) {
  const std::string layers =
      R"({"layers": {"a": {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 64}}})";
  for (const char* prefix : {"", "model.diffusion_model.", "diffusion_model."}) {
    MadeFile file = plain(prefix);
    EXPECT_EQ(file.header("_quantization_metadata", layers).rotation(), Rotation::convrot(64));
  }
  EXPECT_EQ(plain()
                .header("_quantization_metadata",
                        R"({"layers": {"diffusion_model.a": "int8_tensorwise"}})")
                .rotation(),
            Rotation{});
  // The same twice is no contradiction.
  EXPECT_EQ(plain()
                .header("_quantization_metadata", layers)
                .text("a.comfy_quant", R"({"params": {"convrot": true}, "convrot_groupsize": 64,
                                           "format": "int8"})")
                .rotation(),
            Rotation::convrot(64));
}

TEST(ComfyInt8Format, HeadersThatDescribeNothingAreRefused) {
  const auto problem = [](const std::string& header) {
    return plain().header("_quantization_metadata", header).problem();
  };
  EXPECT_THAT(problem(R"({"layers": {"b": "int8"}})"), HasSubstr("b.weight: missing, expected I8"));
  EXPECT_THAT(problem("[]"), HasSubstr("_quantization_metadata: expected a JSON object"));
  EXPECT_THAT(problem("{}"), HasSubstr("layers: expected an object, found nothing"));
  EXPECT_THAT(problem(R"({"layers": {"a": 3}})"),
              HasSubstr("layers.a: expected an object, found 3"));
  EXPECT_THAT(problem(R"({"layers": {"a": "svdquant_w4a4"}})"),
              HasSubstr("layers.a: format: found \"svdquant_w4a4\", supported is"));
  EXPECT_THAT(problem(R"({"layers": {"a": "nvfp4"}})"),
              HasSubstr("a.weight: found I8 [4, 64], expected U8 [n, k/2]"));
  EXPECT_THAT(plain().header("activation_rotation", "hadamard_128").problem(),
              HasSubstr("activation_rotation in the header: a rotation not known here"));
}

TEST(ComfyInt8Format, WhatIsNotKnownBesideAnInt8WeightIsRefused) {
  EXPECT_THAT(plain().tensor("a.weight_zero_point", DType::kI8, {4, 1}).problem(),
              HasSubstr("a.weight_zero_point: not known beside an int8 weight"));
  EXPECT_THAT(plain().tensor("a.scale_weight", DType::kF32, {4, 1}).problem(),
              HasSubstr("a.weight_scale: scale_weight is there too, the weight is I8"));
  EXPECT_EQ(plain()
                .tensor("a.input_scale", DType::kF32, {})
                .tensor("a.scale_input", DType::kF32, {})
                .tensor("a.bias", DType::kF16, {4})
                .tensor("a.b.lora", DType::kF16, {4})
                .problem(),
            "");
  MadeFile bank;
  bank.tensor("a.weight", DType::kI8, {2, 4, 64}).tensor("a.weight_scale", DType::kF32, {});
  EXPECT_THAT(bank.problem(), HasSubstr("a.weight: found I8 [2, 4, 64], expected I8 [n, k]"));
  MadeFile empty;
  empty.tensor("a.weight", DType::kI8, {0, 64}).tensor("a.weight_scale", DType::kF32, {});
  EXPECT_THAT(empty.problem(), HasSubstr("a.weight: found I8 [0, 64], expected I8 [n, k]"));
}

// Every layer by its own descriptor, or by its weight's type where it has none.
TEST(ComfyFormat, LayersOfOneFileMayHaveDifferentForms) {
  MadeFile file = plain();
  file.text("a.comfy_quant", R"({"format": "int8_tensorwise", "convrot": true,
                                  "convrot_groupsize": 64})")
      .tensor("b.weight", DType::kF8E5M2, {4, 64})
      .text("b.comfy_quant", R"({"format": "float8_e5m2", "full_precision_matrix_mult": true})")
      .tensor("c.weight", DType::kF8E4M3, {4, 64})
      .tensor("d.weight", DType::kI8, {4, 32})
      .tensor("d.weight_scale", DType::kF32, {4})
      .text("d.comfy_quant", R"({"format": "convrot_w4a4", "convrot_groupsize": 16})")
      .tensor("e.weight", DType::kBF16, {4, 64})
      .tensor("f.weight", DType::kI8, {4, 64})
      .tensor("f.weight_scale", DType::kF32, {});
  const auto weights = file.open();
  ASSERT_TRUE(weights) << weights.error().message;
  const auto& linears = (*weights)->linears();
  EXPECT_EQ(linears.at("a").rotation, Rotation::convrot(64));
  EXPECT_TRUE(linears.at("b").float_product);
  EXPECT_NE(linears.at("b").decoder, nullptr);
  EXPECT_FALSE(linears.at("c").float_product);
  EXPECT_TRUE(linears.at("c").form().decoded);
  EXPECT_EQ(linears.at("d").k, 64);
  EXPECT_NE(linears.at("d").int8_decoder, nullptr);
  EXPECT_EQ(linears.at("d").rotation, Rotation::convrot(16));
  EXPECT_FALSE(linears.at("e").is_quantized());
  EXPECT_EQ(linears.at("f").rotation, Rotation{});
  for (const auto& [name, linear] : linears)
    EXPECT_EQ((*weights)->linear(name)->linear.values.shape, (Shape{4, 64})) << name;
}

TEST(ComfyInt8Format, ScalesOfEveryShapeTheFormatKnows) {
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{4}, Shape{4, 1}}) {
    MadeFile file;
    file.tensor("a.weight", DType::kI8, {4, 64}).tensor("a.weight_scale", DType::kF32, shape);
    const auto weights = file.open();
    ASSERT_TRUE(weights) << to_string(shape);
    EXPECT_EQ((*weights)->linear("a")->linear.scales.shape, Shape{4});
  }
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 4}, Shape{4, 2}, Shape{0}, Shape{4, 1, 1}}) {
    MadeFile file;
    file.tensor("a.weight", DType::kI8, {4, 64}).tensor("a.weight_scale", DType::kF32, shape);
    EXPECT_THAT(file.problem(), HasSubstr("a.weight_scale: found F32 " + to_string(shape)));
  }
}

TEST(StoredWeights, NamesThatDifferInTheirPrefixAloneAreRefused) {
  MadeFile file = plain();
  file.tensor("diffusion_model.a.weight", DType::kF32, {4, 64});
  EXPECT_THAT(file.problem(),
              HasSubstr("a.weight and diffusion_model.a.weight are one tensor's name"));
}

TEST(StoredWeights, FloatsAloneAreTheLastFormat) {
  MadeFile file;
  file.tensor("a.weight", DType::kF16, {4, 64})
      .tensor("b.weight", DType::kU8, {4, 64})
      .tensor("c.weight", DType::kF32, {64})
      .tensor("a.bias", DType::kF32, {4});
  const auto weights = file.open();
  ASSERT_TRUE(weights);
  EXPECT_STREQ((*weights)->format(), "float");
  EXPECT_EQ((*weights)->linears().size(), 1u);
  EXPECT_EQ((*weights)->linear("a")->linear.values.shape, (Shape{4, 64}));
  EXPECT_THAT((*weights)->linear("b").error().message,
              HasSubstr("b.weight: found U8 [4, 64], expected a weight [n, k]"));
  EXPECT_THAT((*weights)->linear("d").error().message, HasSubstr("d.weight: missing"));
  EXPECT_TRUE((*weights)->tensor("a.bias"));
  EXPECT_TRUE((*weights)->tensor("a.weight"));
  EXPECT_EQ((*weights)->tensor("d").error().code, ErrorCode::kNotFound);
}

TEST(StoredWeights, NumbersOfAQuantizedLinearAreNoTensor) {
  const auto weights = plain().open();
  EXPECT_THAT((*weights)->tensor("a.weight").error().message,
              HasSubstr("a.weight: found I8 [4, 64] with scales, expected floats"));
  EXPECT_TRUE((*weights)->tensor("a.weight_scale"));
}

}  // namespace
}  // namespace intaglio
