// GGUF files as checkpoints: which linears there are, what is decoded, what is refused in which
// words.
#include "io/formats/gguf_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/files.h"
#include "io/formats/ggml_blocks.h"
#include "io/formats/stored_weights.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using test::GgufBytes;
using testing::HasSubstr;

constexpr uint32_t kF32 = 0, kQ8 = 8, kIq3S = 21, kI8 = 24;

Expected<std::shared_ptr<const StoredWeights>> open(const std::filesystem::path& path) {
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(path));
  return StoredWeights::open(std::move(checkpoint));
}

std::shared_ptr<const StoredWeights> weights_of(const std::string& name) {
  auto weights = open(test::source_path("tests/formats/" + name));
  if (!weights) throw std::runtime_error(weights.error().message);
  return *weights;
}

std::string problem(const GgufBytes& bytes) {
  const auto file = bytes.parse();
  if (!file) return file.error().message;
  const auto weights = StoredWeights::open(*file);
  return weights ? "" : weights.error().message;
}

std::vector<float> floats(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape.count()));
  convert_to_f32(view.data, view.dtype, values.data(), values.size());
  return values;
}

TEST(GgufWeights, MatricesOfBlocksAreLinearsWithDecoders) {
  for (const std::string name : {"gguf_q8_0/city96.gguf", "gguf_q8_0/sdcpp.gguf",
                                 "gguf_q4_0/sdcpp.gguf", "gguf_iq4_nl/prefixed.gguf"}) {
    SCOPED_TRACE(name);
    const auto weights = weights_of(name);
    EXPECT_STREQ(weights->format(), "gguf");
    EXPECT_TRUE(weights->is_quantized());
    const LinearEntry& qkv = weights->linears().at("layers.0.attention.qkv");
    EXPECT_EQ(qkv.n, 192);
    EXPECT_EQ(qkv.k, 64);
    EXPECT_TRUE(qkv.form().decoded);
    EXPECT_EQ(qkv.encoding, Encoding::kFloat);
    const std::vector<float> whole = *read_floats(*qkv.values);
    const auto loaded = weights->linear("layers.0.attention.qkv");
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(floats(loaded->linear.values), whole);
    // A third of it alone, a row of it, all of it as a tensor.
    const auto third = weights->linear("layers.0.attention.qkv", nullptr, {64, 64, 64});
    ASSERT_TRUE(third);
    EXPECT_EQ(floats(third->linear.values),
              std::vector<float>(whole.begin() + 64 * 64, whole.begin() + 128 * 64));
    std::vector<float> row(64);
    const int64_t last[] = {191};
    ASSERT_TRUE(weights->rows("layers.0.attention.qkv", 64, last, row.data()));
    EXPECT_EQ(row, std::vector<float>(whole.end() - 64, whole.end()));
    EXPECT_EQ(floats(weights->tensor("layers.0.attention.qkv.weight")->view), whole);
    // What its writer left in floats lies as it is.
    const LinearEntry& out = weights->linears().at("final_layer.linear");
    EXPECT_FALSE(out.is_quantized());
    EXPECT_EQ(weights->linear("final_layer.linear")->linear.values.dtype, DType::kBF16);
    EXPECT_EQ(weights->tensor("layers.0.ffn_norm1.weight")->view.dtype, DType::kF32);
    EXPECT_EQ(weights->find_linear("layers.0.ffn_norm1"), nullptr);
  }
}

TEST(GgufWeights, FilesOfFloatsAreNotQuantized) {
  for (const std::string name : {"gguf_f16/city96.gguf", "gguf_bf16/sdcpp.gguf"}) {
    const auto weights = weights_of(name);
    EXPECT_STREQ(weights->format(), "gguf");
    EXPECT_FALSE(weights->is_quantized());
    EXPECT_TRUE(weights->linear("layers.0.feed_forward.w2"));
  }
}

// Vectors and tensors of more dimensions may be of blocks too, and shapes may have been folded.
TEST(GgufWeights, TensorsOfBlocksAreFloats) {
  GgufBytes bytes(2);
  bytes.tensor("norm", {32}, kQ8, 0).tensor("conv.weight", {32, 2, 3}, kQ8, 64).pad();
  bytes.add(Float16(0.5f).bits);
  for (int8_t e = 0; e < 32; ++e) bytes.add(e);
  bytes.pad().zeros(6 * 34);
  const auto file = bytes.parse();
  ASSERT_TRUE(file) << file.error().message;
  const auto weights = StoredWeights::open(*file);
  ASSERT_TRUE(weights) << weights.error().message;
  const auto norm = (*weights)->tensor("norm");
  ASSERT_TRUE(norm) << norm.error().message;
  EXPECT_EQ(norm->view.shape, Shape{32});
  EXPECT_EQ(norm->view.as<float>()[31], 15.5f);
  EXPECT_EQ((*weights)->tensor("conv.weight")->view.shape, (Shape{3, 2, 32}));
  EXPECT_EQ((*weights)->find_linear("conv"), nullptr);
  EXPECT_EQ(weights_of("gguf_more/more.gguf")->linears().at("q8").k, 64);
}

// It is there, and harms who needs it.
TEST(GgufWeights, TypesThatAreNotDecodedAreNoLinears) {
  GgufBytes bytes(2);
  bytes.tensor("a.weight", {256, 2}, kIq3S, 0).tensor("b.weight", {2, 2}, kF32, 224).pad();
  bytes.zeros(224 + 16);
  const auto file = bytes.parse();
  const auto weights = StoredWeights::open(*file);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ((*weights)->find_linear("a"), nullptr);
  EXPECT_NE((*weights)->find_linear("b"), nullptr);
  EXPECT_THAT((*weights)->linear("a").error().message,
              HasSubstr("a.weight: found IQ3_S [2, 256], expected a weight [n, k]"));
}

// stable-diffusion.cpp's export of int8 layers.
TEST(GgufWeights, Int8WithoutItsDescriptorIsRefused) {
  GgufBytes bytes(2);
  bytes.tensor("x.weight", {32, 6}, kI8, 0).tensor("x.weight_scale", {1, 6}, kF32, 192).pad();
  bytes.zeros(192 + 24);
  const std::string message = problem(bytes);
  EXPECT_THAT(message, HasSubstr("x.gguf: x.weight: found I8 [6, 32] with weight_scale"));
  EXPECT_THAT(message, HasSubstr("whether their columns are turned (ConvRot)"));
  EXPECT_THAT(message, HasSubstr("use the safetensors file that this one was made from"));
  GgufBytes alone(1);
  alone.tensor("x.weight", {32, 6}, kI8, 0).pad().zeros(192);
  EXPECT_THAT(problem(alone), HasSubstr("found I8 [6, 32] without scales"));
}

TEST(GgufWeights, OneOfSeveralFilesIsRefused) {
  const auto split = [](uint16_t count) {
    GgufBytes bytes(1, 1);
    bytes.key("split.count", 2).add(count).tensor("a", {1}, kF32, 0).pad().zeros(4);
    return problem(bytes);
  };
  EXPECT_EQ(split(0), "");
  EXPECT_EQ(split(1), "");
  EXPECT_EQ(split(3),
            "x.gguf: split.count is 3: one of several files, expected all tensors in one");
}

// ---- The files of tests/formats/bad.

// Opens the file and reads every linear; "" if all is well.
std::string problem_of(const std::filesystem::path& path) {
  const auto weights = open(path);
  if (!weights) return weights.error().message;
  for (const auto& [name, entry] : (*weights)->linears()) {
    const auto linear = (*weights)->linear(name);
    if (!linear) return linear.error().message;
  }
  return "";
}

constexpr const char* kTensor = "tensor \"layers.0.attention.o.weight\"";

// A part of each message; "": the file is read.
const std::map<std::string, std::string> kBadFiles{
    {"good", ""},
    {"gguf_align_0", "key \"general.alignment\" is 0, expected a power of two"},
    {"gguf_align_2p31", "key \"general.alignment\" is 2147483648, expected a power of two"},
    {"gguf_align_3", "key \"general.alignment\" is 3, expected a power of two"},
    {"gguf_array_2p60", "is an array of 1152921504606846976 values in a file of 352 bytes"},
    {"gguf_array_nested", "is an array of arrays"},
    {"gguf_big_endian", "a big-endian file; supported are little-endian ones"},
    {"gguf_dims_0", std::string(kTensor) + " has a dimension of 0 elements"},
    {"gguf_dims_2p32", std::string(kTensor) + " has 4294967295 dimensions, at most 4 expected"},
    {"gguf_dims_9", std::string(kTensor) + " has 9 dimensions, at most 4 expected"},
    {"gguf_dims_overflow", std::string(kTensor) + " has more elements than can be counted"},
    {"gguf_empty", "4 bytes, too short for GGUF"},
    {"gguf_k_not_block", std::string(kTensor) + " has rows of 31 elements in Q8_0"},
    {"gguf_key_twice", "key \"general.architecture\" appears twice"},
    {"gguf_keys_2p60", "1152921504606846976 keys in a file of 384 bytes"},
    {"gguf_magic", "expected \"GGUF\"; not GGUF?"},
    {"gguf_name_not_utf8", "the name of tensor 1 of 1 is not UTF-8"},
    {"gguf_name_twice", std::string(kTensor) + " appears twice"},
    {"gguf_nan_d", "layers.0.attention.o.weight: row 0 holds an Inf or a NaN"},
    {"gguf_offset_minus", std::string(kTensor) + " has 204 bytes from byte 18446744073709551584"},
    {"gguf_offset_odd", std::string(kTensor) + " begins at byte"},
    {"gguf_offset_past_end", std::string(kTensor) + " has 204 bytes from byte"},
    {"gguf_overlap", "overlaps the one before it in the data"},
    {"gguf_string_2p62", "needs 4611686018427387904 bytes"},
    {"gguf_tensors_2p60", "1152921504606846976 tensors in a file of 384 bytes"},
    {"gguf_tensors_minus1", "18446744073709551615 tensors in a file of 384 bytes"},
    {"gguf_truncated", "outside the"},
    {"gguf_truncated_info", "truncated?"},
    {"gguf_type_200", std::string(kTensor) + " is of type 200, which is not known"},
    {"gguf_type_removed_4", std::string(kTensor) + " is of type 4, which is not known"},
    {"gguf_value_type_77", "is of type 77, expected 0 to 12"},
    {"gguf_version_0", "version 0, supported are 2 and 3"},
    {"gguf_version_99", "version 99, supported are 2 and 3"}};

TEST(GgufWeights, BadFilesAreRefusedInWords) {
  std::set<std::string> seen;
  for (const auto& item :
       std::filesystem::directory_iterator(test::source_path("tests/formats/bad"))) {
    if (item.path().extension() != ".gguf") continue;
    const std::string name = item.path().stem().string();
    SCOPED_TRACE(name);
    const auto expected = kBadFiles.find(name);
    ASSERT_NE(expected, kBadFiles.end());
    seen.insert(name);
    const std::string problem = problem_of(item.path());
    EXPECT_EQ(problem.empty(), expected->second.empty()) << problem;
    if (problem.empty()) continue;
    EXPECT_THAT(problem, HasSubstr(name + ".gguf: "));
    EXPECT_THAT(problem, HasSubstr(expected->second));
    for (const char c : problem) ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 32);
    EXPECT_LT(problem.size(), 2000u);
  }
  EXPECT_EQ(seen.size(), kBadFiles.size());
}

// The list that came with the files.
TEST(GgufWeights, BadFilesGetWhatTheirListSays) {
  const auto list =
      nlohmann::json::parse(*read_file(test::source_path("tests/formats/bad/files.json")));
  size_t listed = 0;
  for (const auto& [name, file] : list.items()) {
    if (!name.ends_with(".gguf")) continue;
    ++listed;
    const auto found = kBadFiles.find(name.substr(0, name.size() - 5));
    ASSERT_NE(found, kBadFiles.end()) << name;
    EXPECT_EQ(found->second.empty(), file.at("must") == "loads") << name;
  }
  EXPECT_EQ(listed, kBadFiles.size());
}

}  // namespace
}  // namespace intaglio
