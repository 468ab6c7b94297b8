// The 2-D decoder of Wan 2.1's autoencoder against pictures of the published code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "models/autoencoder/decoder.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/models/autoencoder/decode_case.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kSet = fs::path(test::source_path("tests/reference/krea2"));
const fs::path kVae = kSet / "tiny" / "vae";

std::string with_replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// What Wan 2.1's own files call the tensors: of the decoder three blocks with two resnets and an
// upsampler each, and a fourth without. The encoder's blocks are one list here, too.
std::string wan_name(const std::string& name) {
  for (const auto& [ours, theirs] :
       {std::pair<std::string, std::string>{"post_quant_conv.", "conv2."},
        {"decoder.conv_in.", "decoder.conv1."},
        {"decoder.norm_out.", "decoder.head.0."},
        {"decoder.conv_out.", "decoder.head.2."},
        {"quant_conv.", "conv1."},
        {"encoder.conv_in.", "encoder.conv1."},
        {"encoder.norm_out.", "encoder.head.0."},
        {"encoder.conv_out.", "encoder.head.2."}})
    if (name.starts_with(ours)) return theirs + name.substr(ours.size());
  std::string renamed = name;
  for (const auto& [ours, theirs] : {std::pair{"mid_block.resnets.0.", "middle.0."},
                                     {"mid_block.attentions.0.", "middle.1."},
                                     {"mid_block.resnets.1.", "middle.2."},
                                     {"norm1.", "residual.0."},
                                     {"conv1.", "residual.2."},
                                     {"norm2.", "residual.3."},
                                     {"conv2.", "residual.6."},
                                     {"conv_shortcut.", "shortcut."},
                                     {"encoder.down_blocks.", "encoder.downsamples."}})
    renamed = with_replaced(renamed, ours, theirs);
  for (int block = 0; block < 4; ++block) {
    for (int j = 0; j < 2; ++j)
      renamed = with_replaced(renamed, fmt::format("up_blocks.{}.resnets.{}.", block, j),
                              fmt::format("upsamples.{}.", 3 * block + j));
    renamed = with_replaced(renamed, fmt::format("up_blocks.{}.upsamplers.0.", block),
                            fmt::format("upsamples.{}.", 3 * block + 2));
  }
  return renamed;
}

// A folder with the tiny config, and its weights under changed names.
class Renamed {
 public:
  template <typename Rename>
  explicit Renamed(Rename&& rename) {
    fs::copy_file(kVae / "config.json", folder / "config.json");
    const auto checkpoint = Checkpoint::open(kVae).value();
    std::vector<TensorEntry> entries;
    for (const auto& file : checkpoint->files())
      for (const TensorEntry& entry : file->tensors()) {
        tensors_.push_back(read_tensor(entry).value());
        const std::string name = rename(entry.name);
        if (!name.empty()) entries.push_back({name, tensors_.back().view});
      }
    EXPECT_TRUE(write_safetensors(folder / "diffusion_pytorch_model.safetensors", entries));
  }

  const TempFolder folder;

 private:
  std::vector<Tensor> tensors_;
};

// float32 against float32 sums in another order: 1.2e-6 measured. bf16 rounds every activation
// (2^-9), over some thirty layers.
TEST(WanDecoder, GivesThePublishedPictures) { test::expect_published_pictures(kSet, 1e-5, 2.5e-2); }

TEST(WanDecoder, ReadsTheNamesOfWan) {
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  const test::DecodeCase c = test::read_case(kSet, 1);
  const auto published = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(published) << published.error().message;
  EXPECT_EQ(wan_name("decoder.up_blocks.1.resnets.0.conv2.bias"),
            "decoder.upsamples.3.residual.6.bias");
  EXPECT_EQ(wan_name("decoder.up_blocks.2.upsamplers.0.resample.1.weight"),
            "decoder.upsamples.8.resample.1.weight");
  const Renamed other(wan_name);
  const auto vae =
      autoencoder::Decoder::load(context, PartFiles::in(other.folder.path()), DType::kF32);
  ASSERT_TRUE(vae) << vae.error().message;
  EXPECT_EQ(test::decode(*vae, context, c.latent, c.h, c.w),
            test::decode(*published, context, c.latent, c.h, c.w));

  EXPECT_EQ(wan_name("encoder.down_blocks.4.norm2.gamma"),
            "encoder.downsamples.4.residual.3.gamma");
  const auto encoder =
      autoencoder::Encoder::load(context, PartFiles::in(other.folder.path()), DType::kF32);
  const auto published_encoder =
      autoencoder::Encoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(encoder) << encoder.error().message;
  ASSERT_TRUE(published_encoder) << published_encoder.error().message;
  EXPECT_EQ(test::encode(*encoder, context, c.image, c.h, c.w),
            test::encode(*published_encoder, context, c.image, c.h, c.w));
}

TEST(WanDecoder, ListsEveryMissingTensor) {
  const Renamed other([](const std::string& name) {
    return name == "decoder.norm_out.gamma" || name == "decoder.mid_block.attentions.0.to_qkv.bias"
               ? std::string()
               : name;
  });
  const auto vae = autoencoder::Decoder::load({.cpu = host_cpu_features()},
                                              PartFiles::in(other.folder.path()), DType::kF32);
  ASSERT_FALSE(vae);
  EXPECT_THAT(vae.error().message, HasSubstr("decoder.norm_out.gamma: missing"));
  EXPECT_THAT(vae.error().message,
              HasSubstr("decoder.mid_block.attentions.0.to_qkv.bias: missing"));
}

// A file with a block more than the config knows, under either name.
TEST(WanDecoder, RefusesBlocksBeyondItsConfig) {
  for (const auto& [from, to] :
       {std::pair{"decoder.up_blocks.3.", "decoder.up_blocks.4."},
        {"decoder.up_blocks.3.resnets.1.", "decoder.up_blocks.3.resnets.2."},
        {"decoder.up_blocks.3.resnets.1.", "decoder.upsamples.11."}}) {
    const Renamed other([&, from = from, to = to](const std::string& name) {
      return with_replaced(name, from, to);
    });
    const auto vae = autoencoder::Decoder::load({.cpu = host_cpu_features()},
                                                PartFiles::in(other.folder.path()), DType::kF32);
    ASSERT_FALSE(vae) << to;
    EXPECT_THAT(vae.error().message, HasSubstr("beyond the")) << to;
  }
}

// z = x * std + mean, a token's channels being c * 4 + dy * 2 + dx.
TEST(WanDecoder, DenormalizesAndUnpacksByTheFormula) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  const auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae) << vae.error().message;
  const nlohmann::json config = JsonConfig::open(kVae / "config.json")->json();
  constexpr int64_t kH = 2, kW = 3, kC = 4;
  std::vector<float> x;
  for (int i = 0; i < kH * kW * 4 * kC; ++i) x.push_back(static_cast<float>(i) * 0.25f - 7.0f);
  std::vector<float> latent(x.size());
  ASSERT_TRUE(vae->denormalize_and_unpack(x.data(), kH, kW, latent.data()));
  for (int64_t h = 0; h < 2 * kH; ++h) {
    for (int64_t w = 0; w < 2 * kW; ++w) {
      for (int64_t c = 0; c < kC; ++c) {
        const auto i =
            static_cast<size_t>((h / 2 * kW + w / 2) * 4 * kC + c * 4 + h % 2 * 2 + w % 2);
        const auto channel = static_cast<size_t>(c);
        const double expected =
            static_cast<double>(x[i]) * config["latents_std"][channel].get<double>() +
            config["latents_mean"][channel].get<double>();
        EXPECT_NEAR(latent[static_cast<size_t>((c * 2 * kH + h) * 2 * kW + w)], expected, 1e-5);
      }
    }
  }
}

TEST(WanDecoder, PlannedBytesAreThoseOfTheDecoder) {
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto config = autoencoder::parse_decoder_config(*JsonConfig::open(kVae / "config.json"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->scale_factor(), 8);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), compute);
    ASSERT_TRUE(vae);
    EXPECT_EQ(autoencoder::Decoder::planned_bytes(context, *config, compute, 128, 160),
              vae->scratch_bytes(context, 16, 20));
  }
}

TEST(WanDecoder, RefusesConfigsItCannotServe) {
  const nlohmann::json good = JsonConfig::open(kVae / "config.json")->json();
  const auto parse = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[key] = value;
    return autoencoder::parse_decoder_config(*JsonConfig::parse(json.dump(), "config.json"));
  };
  EXPECT_TRUE(parse("temperal_downsample", {true, true, true}));  // of the time axis alone
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"z_dim", 0},
                                                           {"base_dim", 0},
                                                           {"dim_mult", nlohmann::json::array()},
                                                           {"num_res_blocks", 0},
                                                           {"latents_mean", {0.1, 0.2}},
                                                           {"latents_std", {"1", "1", "1", "1"}},
                                                           {"latents_std", {1, 0, 1, 1}},
                                                           {"latents_std", {1, 1, 1, -1}},
                                                           {"attn_scales", {0.5}},
                                                           {"is_residual", true},
                                                           {"input_channels", 12}}) {
    const auto refused = parse(key, value);
    ASSERT_FALSE(refused) << key << " = " << value;
    EXPECT_THAT(refused.error().message, HasSubstr(key));
  }
  nlohmann::json odd = good;
  odd["base_dim"] = 7;
  odd["dim_mult"] = {2, 3};
  const auto refused =
      autoencoder::parse_decoder_config(*JsonConfig::parse(odd.dump(), "config.json"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("halves"));
}

}  // namespace
}  // namespace intaglio
