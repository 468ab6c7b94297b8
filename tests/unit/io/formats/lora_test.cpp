// What PEFT's files have that others' have not, by its formulas in float64; and adapter files that
// are wrong in one way each.
#include "io/formats/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "models/parts/adapters.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

constexpr int64_t kN = 6, kK = 10, kRank = 3;

struct Floats {
  Shape shape;
  std::vector<float> values;

  Floats(Shape s, uint32_t seed) : shape(s) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < s.count(); ++i) values.push_back(normal(random));
  }
  double at(int64_t row, int64_t column) const {
    return static_cast<double>(values[static_cast<size_t>(row * shape[1] + column)]);
  }
};

class PeftAdapters : public testing::Test {
 protected:
  std::shared_ptr<const AdapterFile> open(
      const std::vector<std::pair<std::string, const Floats*>>& tensors) {
    std::vector<TensorEntry> entries;
    for (const auto& [name, floats] : tensors)
      entries.push_back(
          {"base_model.model.w." + name, {floats->values.data(), DType::kF32, floats->shape}});
    EXPECT_TRUE(write_safetensors(folder_ / "adapter_model.safetensors", entries));
    folder_.write("adapter_config.json", R"({"r": 3, "lora_alpha": 6})");
    auto file = AdapterFile::open(folder_ / "adapter_model.safetensors");
    EXPECT_TRUE(file) << file.error().message;
    return *file;
  }

  const double factor_ = 2.0;  // alpha / r
  Floats w_{{kN, kK}, 1}, a_{{kRank, kK}, 2}, b_{{kN, kRank}, 3};
  TempFolder folder_;
};

// W' = m V / |V| row by row, V = W + f B A; between them at other strengths.
TEST_F(PeftAdapters, DoraDividesByTheNormsOfTheSum) {
  const Floats m({kN}, 4);
  for (const std::string leaf : {"lora_magnitude_vector", "lora_magnitude_vector.weight",
                                 "lora_magnitude_vector.default.weight"}) {
    const auto file = open({{"lora_A.weight", &a_}, {"lora_B.weight", &b_}, {leaf, &m}});
    const AdapterModule* const module = file->find("transformer", "w");
    ASSERT_NE(module, nullptr);
    EXPECT_FALSE(module->is_low_rank());
    const auto numbers = file->read_numbers(*module);
    ASSERT_TRUE(numbers) << numbers.error().message;
    for (const float strength : {1.0f, 0.5f, 0.0f}) {
      for (int64_t row = 0; row < kN; ++row) {
        std::vector<double> v;
        double squares = 0.0;
        for (int64_t c = 0; c < kK; ++c) {
          double sum = w_.at(row, c);
          for (int64_t j = 0; j < kRank; ++j) sum += factor_ * b_.at(row, j) * a_.at(j, c);
          v.push_back(sum);
          squares += sum * sum;
        }
        std::vector<float> out(w_.values.begin() + row * kK, w_.values.begin() + (row + 1) * kK);
        std::vector<float> work(3 * kK);
        numbers->merge_row(row, strength, out.data(), work.data());
        const auto magnitude = static_cast<double>(m.values[static_cast<size_t>(row)]);
        for (int64_t c = 0; c < kK; ++c) {
          const double whole = magnitude * v[static_cast<size_t>(c)] / std::sqrt(squares);
          const double expected =
              w_.at(row, c) + static_cast<double>(strength) * (whole - w_.at(row, c));
          EXPECT_NEAR(static_cast<double>(out[static_cast<size_t>(c)]), expected, 2e-6);
        }
      }
    }
  }
}

TEST_F(PeftAdapters, ARowOfZerosStaysOne) {
  const Floats m({kN}, 4);
  Floats b = b_;
  std::fill(b.values.begin(), b.values.end(), 0.0f);
  const auto file =
      open({{"lora_A.weight", &a_}, {"lora_B.weight", &b}, {"lora_magnitude_vector", &m}});
  const auto numbers = file->read_numbers(*file->find("transformer", "w"));
  std::vector<float> row(kK, 0.0f), work(3 * kK);
  numbers->merge_row(0, 1.0f, row.data(), work.data());
  EXPECT_EQ(row, std::vector<float>(kK, 0.0f));
}

// y = x W^T + f (x A^T B^T + b).
TEST_F(PeftAdapters, ABiasComesWithItsFactor) {
  const Floats bias({kN}, 5);
  for (const std::string leaf : {"lora_B.bias", "lora_B.default.bias"}) {
    const auto file = open({{"lora_A.weight", &a_}, {"lora_B.weight", &b_}, {leaf, &bias}});
    const AdapterModule* const module = file->find("transformer", "w");
    ASSERT_NE(module, nullptr);
    EXPECT_TRUE(module->is_low_rank());
    const auto numbers = file->read_numbers(*module);
    ASSERT_TRUE(numbers) << numbers.error().message;
    EXPECT_EQ(numbers->bias(), bias.values);
    EXPECT_EQ(numbers->factor(), 2.0f);
    const std::vector<AdapterUse> uses{{file, 0.5f}};
    const Adapters adapters(uses, "transformer", {});
    const std::vector<std::string> names{"w"};
    const std::vector<int64_t> rows{kN};
    EXPECT_TRUE(adapters.side_has_bias({names, rows}));
    const Context context = test::host_context();
    LinearWeights weights;
    weights.n = kN;
    weights.k = kK;
    const auto side = adapters.side_branch(context, weights, {names, rows}, DType::kF32);
    ASSERT_TRUE(side) << side.error().message;
    ASSERT_TRUE((*side)->has_bias);
    for (int64_t i = 0; i < kN; ++i)  // strength 0.5 of factor 2
      EXPECT_EQ((*side)->bias.as<float>()[i], bias.values[static_cast<size_t>(i)]);
  }
}

// Beside one that is merged a low rank is merged too, and its bias into the linear's own.
TEST_F(PeftAdapters, ABiasOfAMergedOneIsAddedToTheLinears) {
  const Floats bias({kN}, 5), diff({kN, kK}, 6);
  const auto low = open({{"lora_A.weight", &a_}, {"lora_B.weight", &b_}, {"lora_B.bias", &bias}});
  const auto other = open({{"diff", &diff}});
  const std::vector<AdapterUse> uses{{low, 0.25f}, {other, 1.0f}};
  const Adapters adapters(uses, "transformer", {});
  EXPECT_TRUE(adapters.merges("w"));
  const std::vector<std::string> names{"w"};
  const std::vector<int64_t> rows{kN};
  EXPECT_FALSE(adapters.side_has_bias({names, rows}));
  std::vector<float> own(kN, 1.0f);
  Tensor tensor{{own.data(), DType::kF32, Shape{kN}}, {}};
  ASSERT_TRUE(adapters.add_to("w.bias", tensor));
  for (size_t i = 0; i < own.size(); ++i)
    EXPECT_NEAR(tensor.view.as<float>()[i], 1.0f + 0.5f * bias.values[i], 1e-6f);
  AdapterMatch with_bias(adapters), without(adapters);
  EXPECT_TRUE(with_bias.linear("w", {kN, kK}, true));
  const Status refused = without.linear("w", {kN, kK}, false);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("lora_B.bias: another adapter of w"));
}

// A part of each message, of a model with layers.0.attention.o [6, 32]; all of them errors.
const std::map<std::string, std::string> kBadAdapters{
    {"lora_rank_mismatch.safetensors",
     "lora_A.weight: found F32 [4, 32], expected 5 rows as diffusion_model.layers.0.attention.o."
     "lora_B.weight has columns"},
    {"lora_half.safetensors", "lora_A.weight: its other factor is missing"},
    {"lora_wrong_k.safetensors",
     "lora_A.weight: found F32 [4, 33], layers.0.attention.o of the model takes [4, 32]"},
    {"lora_unknown_layer.safetensors", "no module"},
    {"lora_alpha_nan.safetensors", "alpha: holds an Inf or a NaN"},
    {"lora_rank_0.safetensors", "lora_B.weight: found F32 [6, 0], expected a matrix of F32"}};

std::string problem_of(const std::string& name) {
  const auto file = AdapterFile::open(format_path("bad/" + name));
  if (!file) return file.error().message;
  const std::vector<AdapterUse> uses{{*file}};
  AdapterMatch match(Adapters(uses, "transformer", {}));
  const Status status = match.linear("layers.0.attention.o", {6, 32}, false);
  if (!status) return status.error().message;
  // Model::check_adapters makes an error of this, and a warning where a tensor more fits.
  if (match.tensors().empty()) return (*file)->path().string() + ": no module";
  return "";
}

TEST(BadAdapterFiles, GetWhatTheirListSays) {
  const auto list = nlohmann::json::parse(text_at(format_path("bad/files.json")));
  size_t listed = 0;
  for (const auto& [name, file] : list.items()) {
    if (!name.starts_with("lora_")) continue;
    SCOPED_TRACE(name);
    ++listed;
    ASSERT_TRUE(kBadAdapters.contains(name));
    const std::string problem = problem_of(name);
    EXPECT_THAT(problem, testing::HasSubstr("tests/formats/bad/" + name));
    EXPECT_THAT(problem, testing::HasSubstr(kBadAdapters.at(name)));
  }
  EXPECT_EQ(listed, kBadAdapters.size());
}

}  // namespace
}  // namespace intaglio
