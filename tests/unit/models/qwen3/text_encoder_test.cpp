// Text encoders from files of other programs.
#include "models/qwen3/text_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/cpu_features.h"
#include "core/files.h"
#include "core/memory.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio::qwen3 {
namespace {

using testing::HasSubstr;

TextEncoderConfig config() {
  const std::filesystem::path folder = test::source_path("tests/reference/data/tiny");
  TextEncoderConfig config =
      parse_text_encoder_config(*JsonConfig::open(folder / "text_encoder/config.json")).value();
  // Of the tiny model's layers the file has the first three.
  config.layers = 3;
  EXPECT_TRUE(set_taps({0, 2}, "taps", config));
  return config;
}

std::vector<float> features(const std::filesystem::path& weights, Precision precision) {
  const TextEncoderConfig c = config();
  Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto encoder = TextEncoder::load(context, weights, c, {.precision = precision});
  if (!encoder) {
    ADD_FAILURE() << encoder.error().message;
    return {};
  }
  const std::vector<int32_t> ids{5, 1000, 17, 1204, 0, 17};
  Arena arena(
      allocate(context, encoder->scratch_bytes(context, static_cast<int64_t>(ids.size()))).value());
  context.scratch = &arena;
  std::vector<float> out(ids.size() * static_cast<size_t>(c.feature_dim()));
  const Status status = encoder->encode(context, ids, out.data());
  EXPECT_TRUE(status) << status.error().message;
  return out;
}

double relative_difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0.0, norm = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(error / norm);
}

const char* const kGguf = "tests/formats/gguf_text_encoder/model.gguf";

// Its tensors as floats, under the names that the writer's own table gives them (note.json).
TEST(TextEncoder, LlamaCppsNamesMeanWhatTheirTableSays) {
  const auto packed = GgufFile::open(test::source_path(kGguf)).value();
  const auto note = nlohmann::json::parse(
      *read_file(test::source_path("tests/formats/gguf_text_encoder/note.json")));
  std::vector<std::string> names;
  std::vector<std::vector<float>> values;
  std::vector<TensorEntry> entries;
  for (const TensorEntry& entry : packed->tensors()) {
    values.push_back(read_floats(entry).value());
    entries.push_back({note["names"].at(entry.name).get<std::string>(),
                       {values.back().data(), DType::kF32, entry.shape()}});
  }
  const TempFolder folder;
  ASSERT_TRUE(write_safetensors(folder / "model.safetensors", entries));
  for (const Precision precision : {Precision::kFp32, Precision::kBf16})
    EXPECT_EQ(features(test::source_path(kGguf), precision), features(folder.path(), precision));
}

// The tiny model it was made from, but for the rounding of Q8_0.
TEST(TextEncoder, LlamaCppsFileEncodesWhatItWasMadeFrom) {
  const TempFolder folder;
  const auto whole =
      SafetensorsFile::open(
          test::source_path("tests/reference/data/tiny/text_encoder/model.safetensors"))
          .value();
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  for (const TensorEntry& entry : whole->tensors()) {
    // The layers that the file has.
    const size_t layer = entry.name.find("layers.");
    if (layer != std::string::npos && std::stoi(entry.name.substr(layer + 7)) > 2) continue;
    tensors.push_back(read_tensor(entry).value());
    entries.push_back({entry.name, tensors.back().view});
  }
  ASSERT_TRUE(write_safetensors(folder / "model.safetensors", entries));
  const std::vector<float> expected = features(folder.path(), Precision::kFp32);
  const std::vector<float> got = features(test::source_path(kGguf), Precision::kFp32);
  EXPECT_LT(relative_difference(got, expected), 1.5e-2);
}

TEST(TextEncoder, LayersBeyondTheConfigAreSeenUnderEitherName) {
  TextEncoderConfig fewer = config();
  fewer.layers = 2;
  ASSERT_TRUE(set_taps({1}, "taps", fewer));
  const Status status =
      check_text_encoder_weights(Checkpoint::open(test::source_path(kGguf)).value(), fewer);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("model.gguf: holds blk.2."));
  EXPECT_THAT(status.error().message, HasSubstr("num_hidden_layers"));
}

}  // namespace
}  // namespace intaglio::qwen3
