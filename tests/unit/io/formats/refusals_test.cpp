// What each format refuses, and in which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "io/formats/sdnq.h"
#include "quant/rotation.h"
#include "unit/io/formats/made_file.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Fp8, ScalesAreOfTheTensorOrOfRows) {
  const auto scaled = [](const Shape& shape, DType dtype = DType::kF32) {
    return MadeFile()
        .tensor("a.weight", DType::kF8E4M3, {4, 32})
        .tensor("a.weight_scale", dtype, shape);
  };
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{4}, Shape{4, 1}})
    EXPECT_EQ(scaled(shape).problem(), "") << to_string(shape);
  EXPECT_EQ(scaled({4}, DType::kBF16).problem(), "");
  EXPECT_THAT(scaled({32}).problem(),
              HasSubstr("a.weight_scale: found F32 [32], expected F32, F16 or BF16 [], [1], [4] or "
                        "[4, 1]"));
  EXPECT_THAT(scaled({4}, DType::kI8).problem(), HasSubstr("a.weight_scale: found I8 [4]"));
  EXPECT_THAT(scaled({}).tensor("a.scale_weight", DType::kF32, {}).problem(),
              HasSubstr("a.weight_scale: scale_weight is there too"));
  EXPECT_THAT(scaled({}).tensor("a.weight_zero_point", DType::kF32, {}).problem(),
              HasSubstr("a.weight_zero_point: not known beside an fp8 weight"));
}

MadeFile nf4(const std::string& state) {
  return MadeFile()
      .tensor("a.weight", DType::kU8, {64, 1})
      .tensor("a.weight.absmax", DType::kF32, {2})
      .tensor("a.weight.quant_map", DType::kF32, {16})
      .text("a.weight.quant_state.bitsandbytes__nf4", state);
}

TEST(Bitsandbytes, StatesThatSayMoreOrLessAreRefused) {
  const std::string good = R"("blocksize": 64, "shape": [4, 32])";
  EXPECT_EQ(nf4("{" + good + "}").problem(), "");
  const auto problem = [&](const std::string& more) { return nf4("{" + more + "}").problem(); };
  EXPECT_THAT(problem(good + R"(, "quant_type": "fp4")"),
              HasSubstr("quant_type: found \"fp4\", expected \"nf4\""));
  EXPECT_THAT(problem(good + R"(, "nested_dtype": "float16")"),
              HasSubstr("nested_dtype: found \"float16\", supported is \"float32\""));
  EXPECT_THAT(problem(R"("blocksize": 64, "shape": [128])"), HasSubstr("shape: expected [n, k]"));
  EXPECT_THAT(problem(R"("shape": [4, 32])"), HasSubstr("blocksize: missing"));
  EXPECT_THAT(problem(""), HasSubstr("blocksize: missing"));
  EXPECT_THAT(nf4("{" + good + "}").tensor("a.weight.other", DType::kF32, {}).problem(),
              HasSubstr("a.weight.other: not known beside a four-bit weight"));
}

TEST(Bitsandbytes, TiledLayoutsAreRefused) {
  const auto file = [](uint8_t layout) {
    return MadeFile()
        .tensor("a.weight", DType::kI8, {4, 32})
        .tensor("a.SCB", DType::kF32, {4})
        .numbers("a.weight_format", DType::kU8, {}, std::vector<uint8_t>{layout});
  };
  EXPECT_EQ(file(0).problem(), "");
  EXPECT_THAT(file(2).problem(), HasSubstr("a.weight_format: found 2, a tiled layout"));
  EXPECT_THAT(MadeFile()
                  .tensor("a.weight", DType::kI8, {4, 32})
                  .tensor("a.SCB", DType::kF32, {4})
                  .problem(),
              HasSubstr("a.weight_format: missing"));
}

TEST(Torchao, OnlyInt8TensorsAreRead) {
  const auto file = [](const std::string& note) {
    MadeFile made;
    made.tensor("diffusion_model.a._weight_qdata", DType::kI8, {4, 32})
        .tensor("diffusion_model.a._weight_scale", DType::kF32, {4, 1});
    return note.empty() ? made : made.header("diffusion_model.a.weight", note);
  };
  EXPECT_EQ(file(R"({"_type": "Int8Tensor"})").problem(), "");
  EXPECT_THAT(file("").problem(), HasSubstr("a.weight: found nothing in the header, supported is"));
  EXPECT_THAT(file(R"({"_type": "Int4Tensor"})").problem(),
              HasSubstr("a.weight: found Int4Tensor in the header, supported is Int8Tensor"));
}

TEST(Torchao, InputScalesOfZeroAreRefused) {
  const auto file = [](float scale) {
    return MadeFile()
        .tensor("a._weight_qdata", DType::kI8, {4, 1})
        .tensor("a._weight_scale", DType::kF32, {4, 1})
        .numbers("a._weight_act_pre_scale", DType::kF32, {1}, std::vector<float>{scale})
        .header("a.weight", R"({"_type": "Int8Tensor"})");
  };
  EXPECT_EQ(file(0.5f).problem(), "");
  for (const float scale : {0.0f, kNan, std::numeric_limits<float>::infinity()})
    EXPECT_THAT(file(scale).problem(), HasSubstr("a._weight_act_pre_scale: element 0 is")) << scale;
}

TEST(Quanto, OnlyQint8IsRead) {
  const auto file = [](DType dtype) {
    return MadeFile()
        .tensor("a.weight._data", dtype, {4, 32})
        .tensor("a.weight._scale", DType::kBF16, {4, 1});
  };
  EXPECT_EQ(file(DType::kI8).problem(), "");
  EXPECT_THAT(file(DType::kU8).problem(),
              HasSubstr("a.weight._data: found U8 [4, 32], supported is I8 [n, k] (qint8)"));
  EXPECT_THAT(file(DType::kI8).tensor("a.weight._shift", DType::kBF16, {4, 1}).problem(),
              HasSubstr("a.weight._shift: not known beside a qint8 weight"));
}

TEST(CompressedTensors, OnlyPlainInt8IsRead) {
  const auto file = [](const std::string& format, int bits, const std::string& type) {
    return MadeFile()
        .tensor("a.weight", DType::kI8, {4, 32})
        .tensor("a.weight_scale", DType::kBF16, {4, 2})
        .beside(R"({"quant_method": "compressed-tensors", "format": ")" + format +
                R"(", "config_groups": {"g": {"weights": {"num_bits": )" + std::to_string(bits) +
                R"(, "type": ")" + type + R"("}}}})");
  };
  EXPECT_EQ(file("int-quantized", 8, "int").problem(), "");
  EXPECT_THAT(file("pack-quantized", 8, "int").problem(),
              HasSubstr("format: found \"pack-quantized\", supported is \"int-quantized\""));
  EXPECT_THAT(file("int-quantized", 4, "int").problem(), HasSubstr("num_bits: expected"));
  EXPECT_THAT(file("int-quantized", 8, "float").problem(), HasSubstr("type: found \"float\""));
  EXPECT_THAT(file("int-quantized", 8, "int").tensor("a.weight_g_idx", DType::kI32, {32}).problem(),
              HasSubstr("a.weight_g_idx: not known beside an int8 weight"));
}

MadeFile sdnq(const std::string& config) {
  return MadeFile()
      .tensor("a.weight", DType::kI8, {4, 32})
      .tensor("a.scale", DType::kF32, {4, 1})
      .beside(config);
}

TEST(Sdnq, WhatItsConfigMustSay) {
  const std::string begin = R"({"quant_method": "sdnq", "weights_dtype": )";
  EXPECT_EQ(sdnq(begin + R"("int8"})").problem(), "");
  EXPECT_THAT(sdnq("").problem(), HasSubstr("these weights need the config.json"));
  EXPECT_THAT(sdnq(R"({"quant_method": "gptq"})").problem(),
              HasSubstr("quant_method: expected \"sdnq\""));
  EXPECT_THAT(sdnq(begin + R"("int4"})").problem(), HasSubstr("weights_dtype: found \"int4\""));
  EXPECT_THAT(sdnq(begin + R"("int8", "use_codebook": true})").problem(),
              HasSubstr("use_codebook: found true, supported is false"));
  EXPECT_THAT(sdnq(begin + R"("int8", "use_wavelets": true})").problem(),
              HasSubstr("use_wavelets: not known"));
  EXPECT_THAT(sdnq(begin + R"("int8"})").tensor("a.zero_point", DType::kF32, {4, 1}).problem(),
              HasSubstr("a.zero_point: not known beside I8 [4, 32]"));
  EXPECT_THAT(MadeFile()
                  .tensor("a.weight", DType::kU8, {4, 32})
                  .tensor("a.scale", DType::kF32, {4, 1})
                  .beside(begin + R"("uint8"})")
                  .problem(),
              HasSubstr("a.zero_point: missing beside U8 [4, 32]"));
}

TEST(Sdnq, RowsOfOneRotationStayInt8) {
  const std::string config = R"({"quant_method": "sdnq", "weights_dtype": "int8",
                                 "use_hadamard": true, "hadamard_group_size": )";
  EXPECT_EQ(sdnq(config + "16}").rotation(), Rotation::convrot(16));
  // Sylvester's, and ConvRot's in groups of 4, which no kernel turns: floats, turned back.
  for (const char* group : {"32}", "4}"}) {
    const auto weights = sdnq(config + group).open();
    ASSERT_TRUE(weights);
    EXPECT_EQ((*weights)->linears().at("a").rotation, Rotation{}) << group;
    EXPECT_NE((*weights)->linears().at("a").decoder, nullptr) << group;
  }
}

TEST(Sdnq, SylvestersMatrixIsTheKroneckerPower) {
  constexpr int64_t kGroup = 8;
  for (int64_t i = 0; i < kGroup; ++i) {
    std::vector<float> x(2 * kGroup);
    x[static_cast<size_t>(kGroup + i)] = 1.0f;
    sylvester_row(x.data(), 2 * kGroup, kGroup);
    for (int64_t j = 0; j < kGroup; ++j) {
      const float sign = __builtin_popcountll(static_cast<uint64_t>(i & j)) % 2 == 0 ? 1.0f : -1.0f;
      EXPECT_EQ(x[static_cast<size_t>(j)], 0.0f);
      EXPECT_FLOAT_EQ(x[static_cast<size_t>(kGroup + j)], sign / std::sqrt(8.0f)) << i << " " << j;
    }
  }
}

MadeFile w4a8(const std::string& descriptor) {
  return MadeFile()
      .tensor("a.weight", DType::kI8, {4, 16})
      .tensor("a.weight_s_rel", DType::kF32, {4, 2})
      .tensor("a.weight_s_channel", DType::kF32, {4})
      .text("a.comfy_quant", R"({"format": "asym_w4a8_int8")" + descriptor + "}");
}

TEST(ComfyInt4, WhatIsNotSaidIsNotGuessed) {
  const std::string turned = R"(, "convrot_groupsize": 16)";
  EXPECT_EQ(w4a8(turned).problem(), "");
  EXPECT_THAT(w4a8("").problem(), HasSubstr("a.comfy_quant: convrot_groupsize: missing"));
  EXPECT_THAT(w4a8(R"(, "convrot_groupsize": 64)").problem(),
              HasSubstr("a: convrot_groupsize 64 of a weight [4, 32]"));
  EXPECT_THAT(w4a8(turned + R"(, "group_size": 24)").problem(),
              HasSubstr("a: group_size 24 does not divide 32 columns"));
  EXPECT_THAT(w4a8(turned).tensor("a.weight_correction", DType::kF32, {2, 4}).problem(),
              HasSubstr("a.weight_correction: not known beside an int4 weight"));
  EXPECT_THAT(w4a8(turned)
                  .numbers("a.weight_codebook", DType::kF32, {16}, std::vector<float>(16, kNan))
                  .problem(),
              HasSubstr("a.weight_codebook: found nan, expected sixteen levels"));
  // A scale that is no number, in row 1.
  EXPECT_THAT(MadeFile()
                  .tensor("a.weight", DType::kI8, {4, 8})
                  .numbers("a.weight_s_rel", DType::kF32, {4, 1}, std::vector<float>{1, kNan, 1, 1})
                  .tensor("a.weight_s_channel", DType::kF32, {4})
                  .text("a.comfy_quant", R"({"format": "asym_w4a8_int8", "convrot_groupsize": 16})")
                  .problem(),
              HasSubstr("a.weight_s_rel: row 1 holds an Inf or a NaN"));
}

TEST(ComfyBlocks, SizesMustBePadded) {
  const auto mxfp8 = [](const Shape& weight, const Shape& scales) {
    return MadeFile()
        .tensor("a.weight", DType::kF8E4M3, weight)
        .tensor("a.weight_scale", DType::kU8, scales)
        .text("a.comfy_quant", R"({"format": "mxfp8"})");
  };
  EXPECT_EQ(mxfp8({32, 64}, {128, 4}).problem(), "");
  EXPECT_THAT(mxfp8({17, 64}, {128, 4}).problem(),
              HasSubstr("a.weight: found F8_E4M3 [17, 64], expected multiples of 32"));
  EXPECT_THAT(mxfp8({32, 64}, {32, 2}).problem(),
              HasSubstr("a.weight_scale: found U8 [32, 2], expected F8_E8M0 [128, 4]"));
  const auto weights = mxfp8({32, 64}, {128, 4}).open();
  const LinearEntry& entry = (*weights)->linears().at("a");
  EXPECT_TRUE(entry.holds({32, 64}));
  EXPECT_TRUE(entry.holds({1, 33}));
  EXPECT_FALSE(entry.holds({32, 32}));
  EXPECT_FALSE(entry.holds({33, 64}));
  EXPECT_FALSE(entry.holds({0, 64}));
}

TEST(StoredWeights, OneLinearInTwoFormsIsRefused) {
  EXPECT_THAT(MadeFile()
                  .tensor("a.weight", DType::kBF16, {4, 32})
                  .tensor("a.weight._data", DType::kI8, {4, 32})
                  .tensor("a.weight._scale", DType::kBF16, {4, 1})
                  .problem(),
              HasSubstr("a.weight"));
}

}  // namespace
}  // namespace intaglio
