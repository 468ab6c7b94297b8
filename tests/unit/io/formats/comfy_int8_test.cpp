// ComfyUI's int8 checkpoints, as its own code wrote them (tests/formats), and files that are wrong.
#include "io/formats/comfy_int8.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "io/formats/stored_weights.h"
#include "ops/quantize.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

std::shared_ptr<const SafetensorsFile> file_at(const std::string& path) {
  auto file = SafetensorsFile::open(test::source_path("tests/formats/" + path));
  if (!file) throw std::runtime_error(file.error().message);
  return *file;
}

std::shared_ptr<const StoredWeights> weights_at(const std::string& path) {
  auto weights = StoredWeights::open(file_at(path));
  if (!weights) throw std::runtime_error(weights.error().message);
  return *weights;
}

float bf16(float value) { return static_cast<float>(BFloat16(value)); }

float largest(const std::vector<float>& values) {
  float most = 0.0f;
  for (const float value : values) most = std::max(most, std::fabs(value));
  return most;
}

// expected.safetensors of a folder.
class Published {
 public:
  explicit Published(const std::string& folder)
      : file_(file_at(folder + "/expected.safetensors")) {}

  const SafetensorsFile& file() const { return *file_; }
  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  std::vector<float> floats(const std::string& name) const {
    return *read_floats(*file_->find(name));
  }
  template <typename T>
  std::vector<T> integers(const std::string& name) const {
    const Tensor tensor = *read_tensor(*file_->find(name));
    return {tensor.view.as<T>(), tensor.view.as<T>() + tensor.view.shape.count()};
  }
  // "layers.0.attention.o" of "wide/layers.0.attention.o/W", for each such name of the file `name`.
  std::vector<std::string> linears(const std::string& name) const {
    std::vector<std::string> found;
    for (const TensorEntry& entry : file_->tensors()) {
      if (entry.name.starts_with(name + "/") && entry.name.ends_with("/W"))
        found.push_back(entry.name.substr(name.size() + 1, entry.name.size() - name.size() - 3));
    }
    return found;
  }

 private:
  std::shared_ptr<const SafetensorsFile> file_;
};

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
    EXPECT_STREQ(weights->format(), "comfy_int8");
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

// W as the publisher's code dequantizes it, within 2e-6 of the largest (note.json): its own sums
// run in another order.
TEST_P(ComfyInt8Files, GiveThePublishersWeights) {
  const Published published(GetParam().folder);
  each_linear([&](const StoredWeights&, const StoredLinear& linear, const std::string& name) {
    const std::string begin = GetParam().file + "/" + name + "/";
    const std::vector<float> expected = published.floats(begin + "W");
    const std::vector<int32_t> rows = published.integers<int32_t>(begin + "rows");
    const auto k = static_cast<size_t>(linear.k());
    ASSERT_EQ(expected.size(), rows.size() * k);
    const float limit = 2e-6f * largest(expected);
    std::vector<float> row(k);
    for (size_t i = 0; i < rows.size(); ++i) {
      dequantize_row(linear, rows[i], row.data());
      for (size_t c = 0; c < k; ++c) ASSERT_NEAR(row[c], expected[i * k + c], limit) << rows[i];
    }
  });
}

// Every element of every row counts: x W^T within 1e-5 of the largest.
TEST_P(ComfyInt8Files, GiveThePublishersProducts) {
  const Published published(GetParam().folder);
  each_linear([&](const StoredWeights&, const StoredLinear& linear, const std::string& name) {
    const std::vector<float> y = published.floats(GetParam().file + "/" + name + "/y");
    const std::vector<float> x = published.floats("x/" + std::to_string(linear.k()));
    const auto k = static_cast<size_t>(linear.k());
    const auto n = static_cast<size_t>(linear.n());
    const float limit = 1e-5f * largest(y);
    std::vector<float> row(k);
    for (size_t r = 0; r < n; ++r) {
      dequantize_row(linear, static_cast<int64_t>(r), row.data());
      for (size_t m = 0; m < 3; ++m) {
        double sum = 0.0;
        for (size_t c = 0; c < k; ++c) sum += static_cast<double>(x[m * k + c]) * row[c];
        ASSERT_NEAR(y[m * n + r], sum, limit) << m << " " << r;
      }
    }
  });
}

// Its quantized rows times the stored integers, exact in int32, are its own product of bf16 rows: the
// product is rounded to bf16, the bias added, and the sum rounded again. 1e-3 of the largest is less
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

// ---- files that are wrong

// Opens the file and reads every linear; "" if all is well.
std::string problem_of(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  if (!file) return file.error().message;
  const auto weights = StoredWeights::open(*file);
  if (!weights) return weights.error().message;
  for (const auto& [name, entry] : (*weights)->linears()) {
    const auto linear = (*weights)->linear(name);
    if (!linear) return linear.error().message;
  }
  return "";
}

// The end of each message after the file's name, or a part of it; "": the file is read.
const std::map<std::string, std::string> kBadFiles{
    {"convrot_group_0",
     "comfy_quant: convrot_groupsize: expected an integer in [1, 2147483647], found 0"},
    {"convrot_group_1024_over_k",
     "layers.0.attention.o: convrot_groupsize 1024 of a weight [6, 32]: columns are not a "
     "multiple"},
    {"convrot_group_2",
     "layers.0.attention.o: convrot_groupsize 2 of a weight [6, 32]: rotation group is not 16, 64"},
    {"convrot_group_2p40", "convrot_groupsize: expected an integer in [1, 2147483647], found 1099"},
    {"convrot_group_48", "convrot_groupsize 48 of a weight [6, 32]: rotation group is not 16, 64"},
    {"convrot_group_minus4", "convrot_groupsize: expected an integer in [1, 2147483647], found -4"},
    {"convrot_group_string",
     "convrot_groupsize: expected an integer in [1, 2147483647], found \"16\""},
    {"deep_json", "tensor \"x\": expected an object"},
    {"deep_json_objects", "tensor \"a\": has no dtype"},
    {"descriptor_bomb", "layers.0.attention.o.comfy_quant: JSON nested more than 100 deep"},
    {"descriptor_float", "comfy_quant: found F32"},
    {"descriptor_no_format", ""},  // {"convrot": false}: plain int8
    {"descriptor_not_json", "layers.0.attention.o.comfy_quant: not valid JSON at line 1"},
    {"descriptor_orphan", "layers.9.nowhere.weight: missing, expected I8 [n, k]"},
    {"descriptor_unknown_format",
     "comfy_quant: format: found \"int3_magic\", supported is \"int8_tensorwise\""},
    {"duplicate_key", "layers.0.attention.o.weight"},
    {"empty", "empty file"},
    {"float_offset", "layers.0.attention.o.weight"},
    {"good", ""},
    {"header_2p60", "header of 1152921504606846976 bytes"},
    {"header_4gb", "header of"},
    {"header_array", "header does not start with '{'"},
    {"header_descriptor_conflict",
     "_quantization_metadata: layers.0.attention.o says otherwise than "
     "layers.0.attention.o.comfy_quant"},
    {"header_descriptor_not_json", "_quantization_metadata: not valid JSON at line 1"},
    {"header_minus1", "header of 18446744073709551615 bytes"},
    {"header_nul", "the header holds a NUL byte"},
    {"hole", "layers.0.attention.o.weight"},
    {"i8_without_anything", "layers.0.attention.o.weight_scale: missing, the weight is I8"},
    {"metadata_not_strings", "metadata"},
    {"missing_scale", "layers.0.attention.o.weight_scale: missing, the weight is I8"},
    {"name_escape", ""},  // unknown names, never printed raw
    {"name_long", ""},
    {"name_not_utf8", "header"},
    {"name_nul", ""},
    {"name_surrogate", "header"},
    {"negative_offset", "layers.0.attention.o.weight"},
    {"not_json", "header"},
    {"offset_overflow", "layers.0.attention.o.weight"},
    {"overlap", "layers.0.attention.o.weight"},
    {"past_end", "layers.0.attention.o.weight"},
    {"reversed", "layers.0.attention.o.weight"},
    {"scale_denormal", ""},
    {"scale_i8", "weight_scale: found I8 [6, 1], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_inf", "weight_scale: scale 4 is inf, expected a finite number, not negative"},
    {"scale_minus_inf", "weight_scale: scale 4 is -inf, expected a finite number, not negative"},
    {"scale_nan", "weight_scale: scale 4 is nan, expected a finite number, not negative"},
    {"scale_negative", "weight_scale: scale 0 is -"},
    {"scale_short", "weight_scale: found F32 [5, 1], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_transposed", "weight_scale: found F32 [1, 32], expected F32 [], [1], [6] or [6, 1]"},
    {"scale_zero", ""},
    {"seven_bytes", "7 bytes"},
    {"shape_9d", "layers.0.attention.o.weight: found I8 [1, 1"},
    {"shape_mismatch", "layers.0.attention.o.weight"},
    {"shape_negative", "layers.0.attention.o.weight"},
    {"shape_product_overflow", "layers.0.attention.o.weight"},
    {"shape_string", "layers.0.attention.o.weight"},
    {"shape_zero", "layers.0.attention.o.weight"},
    {"trailing_bytes", "bytes"},
    {"truncated_data", "bytes"},
    {"truncated_header", "truncated?"},
    {"unknown_dtype", "layers.0.attention.o.weight"},
    {"weight_nan", "layers.0.attention.o.weight: holds an Inf or a NaN"},
    {"wrong_dtype", "layers.0.attention.o.weight: found F32 [6, 32], expected I8 [n, k]"}};

TEST(ComfyInt8Format, BadFilesAreRefusedInWords) {
  std::set<std::string> seen;
  for (const auto& item :
       std::filesystem::directory_iterator(test::source_path("tests/formats/bad"))) {
    const std::string name = item.path().stem().string();
    SCOPED_TRACE(name);
    const auto expected = kBadFiles.find(name);
    ASSERT_NE(expected, kBadFiles.end());
    seen.insert(name);
    const std::string problem = problem_of(item.path());
    EXPECT_EQ(problem.empty(), expected->second.empty()) << problem;
    if (problem.empty()) continue;
    EXPECT_THAT(problem, HasSubstr(name + ".safetensors: "));
    EXPECT_THAT(problem, HasSubstr(expected->second));
    for (const char c : problem) ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 32);
    EXPECT_LT(problem.size(), 2000u);
  }
  EXPECT_EQ(seen.size(), kBadFiles.size());
}

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

// A checkpoint of one int8 linear "a", k = 64, with changes.
class OneLinear {
 public:
  OneLinear& tensor(const std::string& name, DType dtype, const Shape& shape) {
    bytes_.emplace_back(static_cast<size_t>(shape.count()) * dtype_size(dtype));
    entries_.push_back({.name = name, .view = {bytes_.back().data(), dtype, shape}});
    return *this;
  }
  OneLinear& text(const std::string& name, const std::string& value) {
    bytes_.emplace_back(value.begin(), value.end());
    const auto size = static_cast<int64_t>(value.size());
    entries_.push_back({.name = name, .view = {bytes_.back().data(), DType::kU8, Shape{size}}});
    return *this;
  }
  OneLinear& header(const std::string& key, const std::string& value) {
    metadata_[key] = value;
    return *this;
  }
  Expected<std::shared_ptr<const StoredWeights>> open() const {
    EXPECT_TRUE(write_safetensors(*folder_ / "x.safetensors", entries_, metadata_));
    return StoredWeights::open(*SafetensorsFile::open(*folder_ / "x.safetensors"));
  }
  std::string problem() const {
    const auto weights = open();
    return weights ? "" : weights.error().message;
  }
  Rotation rotation() const {
    const auto weights = open();
    if (!weights) throw std::runtime_error(weights.error().message);
    return (*weights)->linears().at("a").rotation;
  }

 private:
  std::shared_ptr<TempFolder> folder_ = std::make_shared<TempFolder>();
  std::vector<std::vector<char>> bytes_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

OneLinear plain(const std::string& prefix = "") {
  OneLinear file;
  file.tensor(prefix + "a.weight", DType::kI8, {4, 64});
  file.tensor(prefix + "a.weight_scale", DType::kF32, {4, 1});
  return file;
}

// What a descriptor of {4, 64} says: the rotation, or the message.
std::string said(const std::string& json) {
  const auto read = parse_comfy_int8(json, "f: a.comfy_quant");
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
    OneLinear file = plain(prefix);
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
  EXPECT_THAT(problem(R"({"layers": {"a": "nvfp4"}})"),
              HasSubstr("layers.a: format: found \"nvfp4\""));
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
  OneLinear bank;
  bank.tensor("a.weight", DType::kI8, {2, 4, 64}).tensor("a.weight_scale", DType::kF32, {});
  EXPECT_THAT(bank.problem(), HasSubstr("a.weight: found I8 [2, 4, 64], expected I8 [n, k]"));
  OneLinear empty;
  empty.tensor("a.weight", DType::kI8, {0, 64}).tensor("a.weight_scale", DType::kF32, {});
  EXPECT_THAT(empty.problem(), HasSubstr("a.weight: found I8 [0, 64], expected I8 [n, k]"));
}

TEST(ComfyInt8Format, ScalesOfEveryShapeTheFormatKnows) {
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{4}, Shape{4, 1}}) {
    OneLinear file;
    file.tensor("a.weight", DType::kI8, {4, 64}).tensor("a.weight_scale", DType::kF32, shape);
    const auto weights = file.open();
    ASSERT_TRUE(weights) << to_string(shape);
    EXPECT_EQ((*weights)->linear("a")->linear.scales.shape, Shape{4});
  }
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 4}, Shape{4, 2}, Shape{0}, Shape{4, 1, 1}}) {
    OneLinear file;
    file.tensor("a.weight", DType::kI8, {4, 64}).tensor("a.weight_scale", DType::kF32, shape);
    EXPECT_THAT(file.problem(), HasSubstr("a.weight_scale: found F32 " + to_string(shape)));
  }
}

TEST(StoredWeights, NamesThatDifferInTheirPrefixAloneAreRefused) {
  OneLinear file = plain();
  file.tensor("diffusion_model.a.weight", DType::kF32, {4, 64});
  EXPECT_THAT(file.problem(),
              HasSubstr("a.weight and diffusion_model.a.weight are one tensor's name"));
}

TEST(StoredWeights, FloatsAloneAreTheLastFormat) {
  OneLinear file;
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
