// Text encoders from files of other programs.
#include "models/qwen3/text_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>

#include "core/cpu_features.h"
#include "core/files.h"
#include "core/memory.h"
#include "io/checkpoint.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio::qwen3 {
namespace {

using testing::HasSubstr;

TextEncoderConfig tiny_config() {
  const std::filesystem::path folder = test::source_path("tests/reference/data/tiny");
  TextEncoderConfig config =
      parse_text_encoder_config(*JsonConfig::open(folder / "text_encoder/config.json")).value();
  EXPECT_TRUE(set_taps({0, 2}, "taps", config));
  return config;
}

// Of the tiny model's layers the other programs' file has the first three.
TextEncoderConfig config() {
  TextEncoderConfig config = tiny_config();
  config.layers = 3;
  return config;
}

std::vector<float> features(const std::filesystem::path& weights, Precision precision,
                            const TextEncoderConfig& c = config(),
                            const std::vector<int32_t>& ids = {5, 1000, 17, 1204, 0, 17}) {
  Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto encoder = TextEncoder::load(context, weights, c, {.precision = precision});
  if (!encoder) {
    ADD_FAILURE() << encoder.error().message;
    return {};
  }
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

const char* const kTiny = "tests/reference/data/tiny/text_encoder";

// A token's rows of features.
std::vector<float> rows_of(const std::vector<float>& all, size_t first, size_t count) {
  const auto width = static_cast<ptrdiff_t>(tiny_config().feature_dim());
  const auto begin = all.begin() + static_cast<ptrdiff_t>(first) * width;
  return {begin, begin + static_cast<ptrdiff_t>(count) * width};
}

TEST(TextEncoder, StatesMayLieSideBySide) {
  TextEncoderConfig apart = tiny_config();
  apart.side_by_side = true;
  const std::vector<float> mixed =
      features(test::source_path(kTiny), Precision::kFp32, tiny_config());
  const std::vector<float> found = features(test::source_path(kTiny), Precision::kFp32, apart);
  const auto hidden = static_cast<size_t>(apart.hidden), taps = apart.taps.size();
  ASSERT_EQ(found.size(), mixed.size());
  for (size_t i = 0; i < mixed.size(); ++i) {
    const size_t token = i / (hidden * taps), c = i / taps % hidden, tap = i % taps;
    ASSERT_EQ(found[(token * taps + tap) * hidden + c], mixed[i]) << i;
  }
}

// It sees the text, at its own place, and neither itself nor other padding; the text does not see
// it. Sums of attention run over other numbers of rows at a time.
TEST(TextEncoder, PaddingAttendsToTheTextAlone) {
  const std::filesystem::path weights = test::source_path(kTiny);
  TextEncoderConfig padded = tiny_config();
  padded.padding = 7;
  const std::vector<int32_t> text{5, 7, 17, 1204};
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    std::vector<int32_t> ids = text;
    ids.insert(ids.end(), 5, kPadding);
    const double tolerance = precision == Precision::kFp32 ? 1e-6 : 1e-2;
    const std::vector<float> all = features(weights, precision, padded, ids);
    const std::vector<float> alone = features(weights, precision, tiny_config(), text);
    EXPECT_LE(relative_difference(rows_of(all, 0, 4), alone), tolerance);
    for (size_t pads = 1; pads < 5; ++pads) {
      const std::vector<float> fewer =
          features(weights, precision, padded, {ids.begin(), ids.begin() + 4 + ptrdiff_t(pads)});
      EXPECT_LE(relative_difference(fewer, rows_of(all, 0, 4 + pads)), tolerance) << pads;
    }
    // What it is read as is text where a prompt says it, and sees itself, at the very end, too.
    std::replace(ids.begin(), ids.end(), kPadding, padded.padding);
    const std::vector<float> said = features(weights, precision, padded, ids);
    EXPECT_EQ(said, features(weights, precision, tiny_config(), ids));
    EXPECT_GT(relative_difference(said, all), 1e-2);
  }
}

TEST(TextEncoder, NothingButPaddingIsNoText) {
  TextEncoderConfig padded = tiny_config();
  padded.padding = 7;
  Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto encoder =
      TextEncoder::load(context, test::source_path(kTiny), padded, {.precision = Precision::kFp32});
  ASSERT_TRUE(encoder);
  Arena arena(allocate(context, encoder->scratch_bytes(context, 2)).value());
  context.scratch = &arena;
  std::vector<float> out(2 * static_cast<size_t>(padded.feature_dim()));
  const std::vector<int32_t> ids{kPadding, kPadding};
  const Status status = encoder->encode(context, ids, out.data());
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("no tokens to encode"));
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

// By their numbers in published code: 0 the embeddings, the last one behind the model's norm; one
// after the other in a row of features.
TEST(TextEncoder, StatesLieSideBySide) {
  const std::filesystem::path folder = test::source_path("tests/reference/krea2/tiny/text_encoder");
  TextEncoderConfig last =
      parse_text_encoder_config(*JsonConfig::open(folder / "config.json")).value();
  TextEncoderConfig states = last;
  ASSERT_TRUE(set_taps({last.layers - 1}, "taps", last));
  ASSERT_TRUE(set_states({0, 3, states.layers}, "states", states));
  EXPECT_EQ(states.taps, (std::vector<int64_t>{-1, 2, states.layers - 1}));
  const std::vector<int32_t> ids{5, 700, 17, 0};
  const auto encode = [&](const TextEncoderConfig& c) {
    Context context{.threads = 2, .cpu = host_cpu_features()};
    const auto encoder = TextEncoder::load(context, folder, c, {.precision = Precision::kFp32});
    EXPECT_TRUE(encoder) << encoder.error().message;
    Arena arena(allocate(context, encoder->scratch_bytes(context, 4)).value());
    context.scratch = &arena;
    std::vector<float> out(ids.size() * static_cast<size_t>(c.feature_dim()));
    const Status status = encoder->encode(context, ids, out.data());
    EXPECT_TRUE(status) << status.error().message;
    EXPECT_LE(arena.peak(), arena.capacity());
    return out;
  };
  const std::vector<float> found = encode(states), raw = encode(last);
  const auto checkpoint = Checkpoint::open(folder).value();
  const auto read = [&](const char* name) { return read_floats(*checkpoint->find(name)).value(); };
  const std::vector<float> table = read("language_model.embed_tokens.weight");
  const std::vector<float> weight = read("language_model.norm.weight");
  const auto width = static_cast<size_t>(states.hidden);
  for (size_t t = 0; t < ids.size(); ++t) {
    double squares = 0.0;
    for (size_t c = 0; c < width; ++c)
      squares += std::pow(static_cast<double>(raw[t * width + c]), 2);
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-6);
    for (size_t c = 0; c < width; ++c) {
      const float* const row = &found[t * 3 * width];
      EXPECT_EQ(row[c], table[static_cast<size_t>(ids[t]) * width + c]);
      const double normed =
          static_cast<double>(raw[t * width + c]) * inverse * static_cast<double>(weight[c]);
      EXPECT_NEAR(row[2 * width + c], normed, 1e-5 * (1.0 + std::abs(normed)));
    }
  }
}

// Qwen2.5's biases have llama.cpp's names too.
TEST(TextEncoder, Qwen2_5UnderLlamaCppsNames) {
  const std::filesystem::path folder =
      test::source_path("tests/reference/qwen_image/tiny/text_encoder");
  TextEncoderConfig c =
      parse_text_encoder_config(*JsonConfig::open(folder / "config.json")).value();
  ASSERT_TRUE(set_states({c.layers}, "states", c));
  const auto checkpoint = Checkpoint::open(folder).value();
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  size_t biases = 0;
  for (const auto& file : checkpoint->files()) {
    for (const TensorEntry& entry : file->tensors()) {
      std::string name = entry.name;
      for (const auto& [from, to] : {std::pair{"^model\\.embed_tokens", "token_embd"},
                                     {"^model\\.norm", "output_norm"},
                                     {"^model\\.layers", "blk"},
                                     {"self_attn\\.([qkv])_proj", "attn_$1"},
                                     {"self_attn\\.o_proj", "attn_output"},
                                     {"mlp\\.(gate|up|down)_proj", "ffn_$1"},
                                     {"input_layernorm", "attn_norm"},
                                     {"post_attention_layernorm", "ffn_norm"}})
        name = std::regex_replace(name, std::regex(from), to);
      if (name == entry.name) continue;  // what sees, and the head
      biases += name.ends_with("attn_q.bias") ? 1 : 0;
      tensors.push_back(read_tensor(entry).value());
      entries.push_back({name, tensors.back().view});
    }
  }
  EXPECT_EQ(biases, static_cast<size_t>(c.layers));
  const TempFolder written;
  ASSERT_TRUE(write_safetensors(written / "model.safetensors", entries));
  const std::vector<int32_t> ids{5, 700, 17, 0};
  EXPECT_EQ(features(written / "model.safetensors", Precision::kFp32, c, ids),
            features(folder, Precision::kFp32, c, ids));
}

TEST(TextEncoder, StatesAscendUpToTheLast) {
  TextEncoderConfig c;
  c.layers = 4;
  for (const std::vector<int64_t>& states : {std::vector<int64_t>{}, {-1}, {5}, {2, 2}, {3, 1}}) {
    const Status refused = set_states(states, "text_encoder_select_layers", c);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("text_encoder_select_layers"));
  }
  EXPECT_TRUE(set_states({0, 3}, "states", c));
  EXPECT_FALSE(c.final_norm);
  EXPECT_TRUE(set_states({4}, "states", c));
  EXPECT_TRUE(c.final_norm);
}

}  // namespace
}  // namespace intaglio::qwen3
