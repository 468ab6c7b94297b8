// Every folder of tests/formats: the weights of every linear as the publisher's code dequantizes
// them, and its products.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "io/formats/fp8.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

// How the linears that the publisher quantized are taken.
enum class Taken {
  kFloats,      // they are floats
  kInt8,        // int8 rows as they lie
  kInt8Turned,  // the same, turned by ConvRot
  kInt8Made,    // int8 rows, exact, made from another form
  kDecoded,     // floats made row by row
  kMixed        // by layer
};

struct Case {
  std::string folder, file;
  std::string format;
  size_t linears;
  Taken taken;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder << "/" << one.file; }

const Case kCases[] = {
    {"base", "reference/model", "float", 13, Taken::kFloats},
    {"base", "wide", "float", 3, Taken::kFloats},
    {"bnb_int8", "model", "bitsandbytes", 10, Taken::kInt8},
    {"bnb_int8", "wide", "bitsandbytes", 3, Taken::kInt8},
    {"bnb_nf4", "text_encoder", "bitsandbytes", 21, Taken::kDecoded},
    {"bnb_nf4", "transformer", "bitsandbytes", 20, Taken::kDecoded},
    {"bnb_nf4", "unconditional_transformer", "bitsandbytes", 8, Taken::kDecoded},
    {"bnb_nf4", "wide", "bitsandbytes", 3, Taken::kDecoded},
    {"bnb_nf4_nested", "fp4", "bitsandbytes", 2, Taken::kDecoded},
    {"bnb_nf4_nested", "model", "bitsandbytes", 10, Taken::kDecoded},
    {"bnb_nf4_nested", "wide", "bitsandbytes", 3, Taken::kDecoded},
    {"comfy_asym_w4a8", "model", "comfy", 6, Taken::kInt8Made},
    {"comfy_asym_w4a8", "wide", "comfy", 3, Taken::kInt8Made},
    {"comfy_awq_w4a16", "wide", "comfy", 3, Taken::kDecoded},
    {"comfy_convrot_w4a4", "model", "comfy", 6, Taken::kInt8Made},
    {"comfy_convrot_w4a4", "wide", "comfy", 3, Taken::kInt8Made},
    {"comfy_fp8_old", "marker", "comfy", 8, Taken::kDecoded},
    {"comfy_fp8_old", "marker_f32_2_prefixed", "comfy", 8, Taken::kDecoded},
    {"comfy_fp8_scaled", "e4m3", "comfy", 8, Taken::kDecoded},
    {"comfy_fp8_scaled", "e5m2", "comfy", 8, Taken::kDecoded},
    {"comfy_fp8_scaled", "text_encoder", "comfy", 21, Taken::kDecoded},
    {"comfy_fp8_scaled", "wide", "comfy", 3, Taken::kDecoded},
    {"comfy_int8_convrot16", "model", "comfy", 8, Taken::kInt8Turned},
    {"comfy_int8_convrot16", "prefixed", "comfy", 8, Taken::kInt8Turned},
    {"comfy_int8_convrot16", "wide", "comfy", 3, Taken::kInt8Turned},
    {"comfy_int8_convrot256", "model", "comfy", 8, Taken::kMixed},
    {"comfy_int8_convrot256", "wide", "comfy", 3, Taken::kInt8Turned},
    {"comfy_int8_convrot256", "wide_f32", "comfy", 3, Taken::kInt8Turned},
    {"comfy_int8_convrot64", "header_only", "comfy", 8, Taken::kMixed},
    {"comfy_int8_convrot64", "model", "comfy", 8, Taken::kMixed},
    {"comfy_int8_convrot64", "unconditional", "comfy", 8, Taken::kMixed},
    {"comfy_int8_convrot64", "wide", "comfy", 3, Taken::kInt8Turned},
    {"comfy_int8_old_fast", "model", "comfy", 8, Taken::kInt8},
    {"comfy_int8_rowwise", "model", "comfy", 8, Taken::kInt8},
    {"comfy_int8_rowwise", "wide", "comfy", 3, Taken::kInt8},
    {"comfy_int8_tensorwise", "model", "comfy", 8, Taken::kInt8},
    {"comfy_int8_tensorwise", "wide", "comfy", 3, Taken::kInt8},
    {"comfy_mxfp8", "model", "comfy", 8, Taken::kDecoded},
    {"comfy_mxfp8", "wide", "comfy", 3, Taken::kDecoded},
    {"comfy_nvfp4", "model", "comfy", 8, Taken::kDecoded},
    {"comfy_nvfp4", "wide", "comfy", 3, Taken::kDecoded},
    {"comfy_quants_int8", "model", "comfy", 8, Taken::kMixed},
    {"comfy_quants_int8", "wide", "comfy", 2, Taken::kInt8Turned},
    {"compressed_tensors_w8a8", "model", "compressed_tensors", 10, Taken::kInt8},
    {"compressed_tensors_w8a8", "wide", "compressed_tensors", 3, Taken::kMixed},
    {"fp8_plain", "e4m3", "fp8_plain", 13, Taken::kDecoded},
    {"fp8_plain", "e5m2", "fp8_plain", 13, Taken::kDecoded},
    {"ideogram_fp8", "text_encoder", "ideogram_fp8", 7, Taken::kDecoded},
    {"ideogram_fp8", "transformer", "ideogram_fp8", 20, Taken::kDecoded},
    {"ideogram_fp8", "unconditional_transformer", "ideogram_fp8", 2, Taken::kDecoded},
    {"quanto_int8", "model", "quanto", 10, Taken::kInt8},
    {"sdnq_int8", "model", "sdnq", 7, Taken::kInt8},
    {"sdnq_int8", "wide", "sdnq", 3, Taken::kMixed},
    {"sdnq_int8_hadamard", "model", "sdnq", 7, Taken::kMixed},
    {"sdnq_int8_hadamard", "wide", "sdnq", 3, Taken::kMixed},
    {"sdnq_int8_matmul", "model", "sdnq", 7, Taken::kMixed},
    {"sdnq_int8_matmul", "wide", "sdnq", 3, Taken::kMixed},
    {"sdnq_int8_svd", "model", "sdnq", 7, Taken::kDecoded},
    {"sdnq_int8_svd", "wide", "sdnq", 3, Taken::kDecoded},
    {"torchao_int8", "w8a8", "torchao", 10, Taken::kInt8},
    {"torchao_int8", "wide", "torchao", 3, Taken::kMixed}};

std::string path_of(const Case& one) {
  const std::string path = one.folder + "/" + one.file;
  return is_directory(format_path(path)) ? path : path + ".safetensors";
}

class Conformance : public testing::TestWithParam<Case> {
 protected:
  Conformance() : published_(GetParam().folder), weights_(weights_at(path_of(GetParam()))) {}

  std::vector<std::string> names() const { return published_.linears(GetParam().file); }
  std::string expected(const std::string& name, const std::string& what) const {
    return GetParam().file + "/" + name + "/" + what;
  }
  // The linear in the publisher's sizes, which a form may pad.
  LoadedLinear load(const std::string& name) const {
    const int64_t n = published_.file().find(expected(name, "y"))->view.shape[1];
    const int64_t k = published_.file().find(expected(name, "W"))->view.shape[1];
    const std::string_view module = without_model_prefix(name);
    const LinearEntry* const entry = weights_->find_linear(module);
    if (entry == nullptr || !entry->holds({n, k})) throw std::runtime_error(name + " is not there");
    const Context context{.threads = 2};
    auto loaded = weights_->linear(module, &context, {0, n, k});
    if (!loaded) throw std::runtime_error(loaded.error().message);
    return std::move(*loaded);
  }
  // A row of W. Where x is multiplied before the product (torchao), the publisher's W is without.
  static void row_of(const StoredLinear& linear, int64_t row, std::vector<float>& out) {
    out.resize(static_cast<size_t>(linear.k()));
    dequantize_row(linear, row, out.data());
    if (linear.smooth.data == nullptr) return;
    for (size_t c = 0; c < out.size(); ++c) out[c] *= linear.smooth.as<float>()[c];
  }

  Published published_;
  std::shared_ptr<const StoredWeights> weights_;
};

// Within 2e-6 of the largest (tests/formats/README.md): sums of turned rows run in another order.
TEST_P(Conformance, WeightsAreThePublishers) {
  EXPECT_EQ(weights_->format(), GetParam().format);
  ASSERT_EQ(names().size(), GetParam().linears);
  for (const std::string& name : names()) {
    SCOPED_TRACE(name);
    const LoadedLinear loaded = load(name);
    const std::vector<float> w = published_.floats(expected(name, "W"));
    const std::vector<int32_t> rows = published_.integers<int32_t>(expected(name, "rows"));
    const auto k = static_cast<size_t>(loaded.linear.k());
    ASSERT_EQ(w.size(), rows.size() * k);
    const float limit = 2e-6f * largest(w);
    std::vector<float> row;
    for (size_t i = 0; i < rows.size(); ++i) {
      row_of(loaded.linear, rows[i], row);
      for (size_t c = 0; c < k; ++c) ASSERT_NEAR(row[c], w[i * k + c], limit) << rows[i];
    }
  }
}

// Every element of every row counts: x W^T within 1e-5 of the largest.
TEST_P(Conformance, ProductsAreThePublishers) {
  for (const std::string& name : names()) {
    SCOPED_TRACE(name);
    const LoadedLinear loaded = load(name);
    const std::vector<float> y = published_.floats(expected(name, "y"));
    const std::vector<float> x = published_.floats("x/" + std::to_string(loaded.linear.k()));
    const auto k = static_cast<size_t>(loaded.linear.k());
    const auto n = static_cast<size_t>(loaded.linear.n());
    ASSERT_EQ(y.size(), 3 * n);
    const float limit = 1e-5f * largest(y);
    std::vector<float> row;
    for (size_t r = 0; r < n; ++r) {
      row_of(loaded.linear, static_cast<int64_t>(r), row);
      for (size_t m = 0; m < 3; ++m) {
        double sum = 0.0;
        for (size_t c = 0; c < k; ++c) sum += static_cast<double>(x[m * k + c]) * row[c];
        ASSERT_NEAR(y[m * n + r], sum, limit) << m << " " << r;
      }
    }
  }
}

Taken taken_of(const LinearEntry& entry) {
  if (entry.encoding == Encoding::kFloat)
    return entry.decoder == nullptr ? Taken::kFloats : Taken::kDecoded;
  if (entry.int8_decoder != nullptr) return Taken::kInt8Made;
  return entry.rotation == Rotation{} ? Taken::kInt8 : Taken::kInt8Turned;
}

TEST_P(Conformance, LinearsAreTakenAsTheirGridIs) {
  std::set<Taken> seen;
  for (const std::string& name : names())
    seen.insert(taken_of(*weights_->find_linear(without_model_prefix(name))));
  if (GetParam().taken == Taken::kMixed) {
    EXPECT_GT(seen.size() + (GetParam().file == "model" ? 1 : 0), 1u);
  } else {
    EXPECT_THAT(seen, testing::ElementsAre(GetParam().taken));
  }
}

// A part of the rows, read alone, is what lies there in the whole; rows of a table too.
TEST_P(Conformance, PartsAreThoseOfTheWhole) {
  for (const std::string& name : names()) {
    SCOPED_TRACE(name);
    const LoadedLinear whole = load(name);
    const int64_t n = whole.linear.n(), k = whole.linear.k(), first = n / 3, count = n - first - 1;
    const std::string_view module = without_model_prefix(name);
    const auto part = weights_->linear(module, nullptr, {first, count, k});
    ASSERT_TRUE(part) << part.error().message;
    ASSERT_EQ(part->linear.n(), count);
    std::vector<float> a(static_cast<size_t>(k)), b(a.size()), c(a.size());
    for (int64_t r = 0; r < count; r += 3) {
      dequantize_row(whole.linear, first + r, a.data());
      dequantize_row(part->linear, r, b.data());
      ASSERT_EQ(a, b) << first + r;
      const int64_t which[] = {first + r};
      ASSERT_TRUE(weights_->rows(module, k, which, c.data()));
      ASSERT_EQ(a, c) << first + r;
    }
  }
}

std::string test_name(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.folder + "_" + info.param.file;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, Conformance, testing::ValuesIn(kCases), test_name);

// No file of the suite goes unread.
TEST(Suite, TheTableHasEveryFileWithExpectedNumbers) {
  std::set<std::string> listed, found;
  for (const Case& one : kCases) listed.insert(one.folder + "/" + one.file);
  for (const auto& item : std::filesystem::directory_iterator(format_path(""))) {
    const std::string folder = item.path().filename().string();
    if (folder.starts_with("gguf") || !exists(item.path() / "expected.safetensors")) continue;
    const Published published(folder);
    for (const TensorEntry& entry : published.file().tensors()) {
      if (!entry.name.ends_with("/W")) continue;
      const size_t linear = entry.name.rfind('/', entry.name.size() - 3);
      found.insert(folder + "/" + entry.name.substr(0, linear));
    }
  }
  EXPECT_EQ(found, listed);
}

TEST(Suite, EveryByteOfFp8IsThePublishersNumber) {
  const auto file = file_at("fp8_plain/all_bytes.safetensors");
  const Published published("fp8_plain");
  for (const std::string type : {"e4m3", "e5m2"}) {
    const std::vector<float> expected = published.floats("all_bytes/" + type);
    const std::vector<float> found = *read_floats_or_fp8(*file->find(type));
    ASSERT_EQ(found.size(), 256u);
    for (size_t byte = 0; byte < 256; ++byte) {
      if (std::isnan(expected[byte])) {
        EXPECT_TRUE(std::isnan(found[byte])) << type << " " << byte;
      } else {
        EXPECT_EQ(found[byte], expected[byte]) << type << " " << byte;
      }
    }
  }
}

// x is multiplied before the product, so its own product (of bf16 rows and int8 rows of x) is that
// of the weight with the scales.
TEST(Suite, InputScalesOfTorchaoMultiplyTheColumns) {
  const std::string name = "layers.0.feed_forward.w2";
  const auto weights = weights_at("torchao_int8/w8a8.safetensors");
  const LinearEntry* const entry = weights->find_linear(name);
  ASSERT_NE(entry->input_scale, nullptr);
  EXPECT_TRUE(entry->form().smooth);
  const LoadedLinear loaded = *weights->linear(name);
  const Published published("torchao_int8");
  const std::vector<float> own = published.floats("w8a8/" + name + "/own");
  const std::vector<float> x = published.floats("x/128");
  std::vector<float> row(128);
  for (size_t r = 0; r < 64; ++r) {
    dequantize_row(loaded.linear, static_cast<int64_t>(r), row.data());
    for (size_t m = 0; m < 3; ++m) {
      double sum = 0.0;
      for (size_t c = 0; c < 128; ++c) sum += static_cast<double>(x[m * 128 + c]) * row[c];
      // The grid of a row with outliers is coarse.
      const double limit = (m == 2 ? 5e-2 : 1e-2) * largest(own);
      EXPECT_NEAR(own[m * 64 + r], sum, limit) << m << " " << r;
    }
  }
}

// Its vectors are of fp8 too.
TEST(Suite, VectorsOfFp8AreRead) {
  const auto weights = weights_at("fp8_plain/e4m3.safetensors");
  const auto norm = weights->tensor("layers.0.attention_norm1.weight");
  ASSERT_TRUE(norm) << norm.error().message;
  EXPECT_EQ(norm->view.dtype, DType::kF32);
  EXPECT_EQ(norm->view.shape, Shape{64});
  const auto file = file_at("fp8_plain/e4m3.safetensors");
  const std::vector<float> stored =
      *read_floats_or_fp8(*file->find("model.diffusion_model.layers.0.attention_norm1.weight"));
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(norm->view.as<float>()[i], stored[i]);
}

}  // namespace
}  // namespace intaglio
