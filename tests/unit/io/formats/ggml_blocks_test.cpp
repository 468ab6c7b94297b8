// Blocks against what ggml makes of them: every file of tests/formats/gguf_*, written by its
// publishers' code (note.json).
#include "io/formats/ggml_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/files.h"
#include "unit/io/formats/format_files.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

// Matrices of each file that have expected values.
const std::map<std::string, size_t> kMatrices{
    {"gguf_bf16/sdcpp", 14}, {"gguf_f16/city96", 8},         {"gguf_iq4_nl/prefixed", 7},
    {"gguf_iq4_nl/wide", 3}, {"gguf_more/more", 6},          {"gguf_q4_0/sdcpp", 7},
    {"gguf_q4_0/wide", 3},   {"gguf_q4_k/wide", 3},          {"gguf_q5_k/wide", 3},
    {"gguf_q6_k/wide", 3},   {"gguf_q8_0/city96", 7},        {"gguf_q8_0/sdcpp", 7},
    {"gguf_q8_0/wide", 3},   {"gguf_text_encoder/model", 22}};

std::shared_ptr<const GgufFile> gguf_at(const std::string& path) {
  auto file = GgufFile::open(test::source_path("tests/formats/" + path));
  if (!file) throw std::runtime_error(file.error().message);
  return *file;
}

// The name in the GGUF file of what the expected values call `name`: the text encoder's have
// another there.
std::string stored_name(const std::string& folder, const std::string& name) {
  const auto note = nlohmann::json::parse(
      *read_file(test::source_path("tests/formats/" + folder + "/note.json")));
  if (note.contains("names")) {
    for (const auto& [stored, other] : note["names"].items())
      if (other == name + ".weight") return stored;
  }
  return name + ".weight";
}

std::vector<std::string> expected_matrices(const SafetensorsFile& expected,
                                           const std::string& file) {
  std::vector<std::string> names;
  for (const TensorEntry& entry : expected.tensors()) {
    if (entry.name.starts_with(file + "/") && entry.name.ends_with("/W"))
      names.push_back(entry.name.substr(file.size() + 1, entry.name.size() - file.size() - 3));
  }
  return names;
}

void compare_rows(const std::vector<float>& w, size_t k, const SafetensorsFile& expected,
                  const std::string& begin, float tolerance) {
  const std::vector<float> rows = *read_floats(*expected.find(begin + "W"));
  const Tensor which = *read_tensor(*expected.find(begin + "rows"));
  ASSERT_EQ(rows.size(), static_cast<size_t>(which.view.shape.count()) * k);
  const float limit = tolerance * largest(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(which.view.as<int32_t>()[i / k]);
    ASSERT_NEAR(w[row * k + i % k], rows[i], limit) << row << " " << i % k;
  }
}

// Every element of every row counts: x W^T, summed in F64, within 1e-5 of the largest.
void compare_products(const std::vector<float>& w, size_t k, const SafetensorsFile& expected,
                      const std::string& begin) {
  const std::vector<float> y = *read_floats(*expected.find(begin + "y"));
  const std::vector<float> x = *read_floats(*expected.find("x/" + std::to_string(k)));
  const size_t n = w.size() / k;
  ASSERT_EQ(y.size(), 3 * n);
  for (size_t m = 0; m < 3; ++m) {
    for (size_t r = 0; r < n; ++r) {
      double sum = 0.0;
      for (size_t c = 0; c < k; ++c) sum += static_cast<double>(x[m * k + c]) * w[r * k + c];
      ASSERT_NEAR(y[m * n + r], sum, 1e-5f * largest(y)) << m << " " << r;
    }
  }
}

TEST(GgmlBlocks, GiveThePublishersNumbers) {
  std::map<std::string, size_t> seen;
  std::set<std::string> types;
  for (const auto& item :
       std::filesystem::recursive_directory_iterator(test::source_path("tests/formats"))) {
    const std::string folder = item.path().parent_path().filename().string();
    if (item.path().extension() != ".gguf" || !folder.starts_with("gguf_")) continue;
    const std::string stem = item.path().stem().string();
    const auto file = gguf_at(folder + "/" + stem + ".gguf");
    const auto expected = file_at(folder + "/expected.safetensors");
    for (const std::string& name : expected_matrices(*expected, stem)) {
      SCOPED_TRACE(folder + "/" + stem + " " + name);
      const TensorEntry* const entry = file->find(stored_name(folder, name));
      ASSERT_NE(entry, nullptr);
      const auto w = read_floats(*entry);
      ASSERT_TRUE(w) << w.error().message;
      const auto k = static_cast<size_t>(entry->shape()[1]);
      const std::string begin = stem + "/" + name + "/";
      compare_rows(*w, k, *expected, begin, entry->blocks ? 2e-6f : 0.0f);
      compare_products(*w, k, *expected, begin);
      types.insert(entry->blocks ? entry->blocks->type->name
                                 : std::string(dtype_name(entry->view.dtype)));
      ++seen[folder + "/" + stem];
    }
  }
  EXPECT_EQ(seen, kMatrices);
  EXPECT_EQ(types, (std::set<std::string>{"BF16", "F16", "IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K", "Q4_0",
                                          "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"}));
}

// Nothing is decoded that has not been compared.
TEST(GgmlBlocks, EveryDecodedTypeIsCompared) {
  std::set<std::string> decoded;
  for (uint32_t id = 0; id < 1000; ++id) {
    const GgmlType* const type = find_ggml_type(id);
    if (type == nullptr) continue;
    EXPECT_EQ(type->id, id);
    EXPECT_EQ(type->dtype.has_value(), type->elements == 1) << type->name;
    if (type->decode != nullptr) decoded.insert(type->name);
  }
  EXPECT_EQ(decoded, (std::set<std::string>{"IQ4_NL", "IQ4_XS", "Q2_K", "Q3_K", "Q4_0", "Q4_1",
                                            "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"}));
}

TEST(GgmlBlocks, AFoldedShapeHoldsTheSameNumbers) {
  const auto file = gguf_at("gguf_more/more.gguf");
  const TensorEntry& entry = *file->find("q8.weight");
  EXPECT_EQ(entry.shape(), (Shape{24, 64}));
  const std::vector<float> expected =
      *read_floats(*file_at("gguf_more/expected.safetensors")->find("more/q8/reshaped_to_24x64"));
  EXPECT_EQ(*read_floats(entry), expected);
  // Any run of elements, of blocks or across them.
  for (const auto& [first, count] : {std::pair{0, 1536}, {64, 64}, {5, 20}, {31, 2}, {40, 1400}}) {
    std::vector<float> part(static_cast<size_t>(count));
    ASSERT_TRUE(read_block_floats(entry, first, count, part.data()));
    const auto begin = expected.begin() + first;
    EXPECT_EQ(part, std::vector<float>(begin, begin + count)) << first;
  }
}

TEST(GgmlBlocks, TensorsOfOtherRanksAreThere) {
  const auto file = gguf_at("gguf_more/more.gguf");
  EXPECT_EQ(file->find("three.weight")->view.shape, (Shape{2, 3, 4}));
  EXPECT_EQ(file->find("three.weight")->view.dtype, DType::kF32);
  EXPECT_EQ(file->find("four.weight")->view.shape, (Shape{2, 3, 4, 5}));
  EXPECT_EQ(file->find("four.weight")->view.dtype, DType::kF16);
}

// More than is read at once.
TEST(GgmlBlocks, LongRowsAreReadInPieces) {
  constexpr int kBlocks = 5000;
  test::GgufBytes bytes(1);
  bytes.tensor("a", {32 * kBlocks}, 8, 0).pad();
  Float16 half;
  for (int i = 0; i < kBlocks; ++i) {
    half = Float16(static_cast<float>(i % 7) * 0.25f);
    bytes.add(half.bits);
    for (int e = 0; e < 32; ++e) bytes.add(static_cast<int8_t>((i + e) % 255 - 128));
  }
  const auto file = bytes.parse();
  ASSERT_TRUE(file) << file.error().message;
  const std::vector<float> values = *read_floats(*(*file)->find("a"));
  ASSERT_EQ(values.size(), 32u * kBlocks);
  for (int i = 0; i < kBlocks; ++i) {
    for (int e = 0; e < 32; ++e) {
      ASSERT_EQ(values[static_cast<size_t>(32 * i + e)],
                static_cast<float>(i % 7) * 0.25f * static_cast<float>((i + e) % 255 - 128));
    }
  }
}

TEST(GgmlBlocks, TypesKnownByTheirSizeAloneAreRefused) {
  test::GgufBytes bytes(1);
  bytes.tensor("a", {256, 2}, 21, 0).pad().zeros(220);
  const auto file = bytes.parse();
  ASSERT_TRUE(file) << file.error().message;
  const auto floats = read_floats(*(*file)->find("a"));
  ASSERT_FALSE(floats);
  EXPECT_THAT(floats.error().message, HasSubstr("tensor \"a\" is"));
  float out[1];
  const Status status = read_block_floats(*(*file)->find("a"), 0, 1, out);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "tensor \"a\" is IQ3_S [2, 256], a type that is not read");
}

}  // namespace
}  // namespace intaglio
