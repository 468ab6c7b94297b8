// The encoders against latents of the published formulas (scripts/make_init_cases.py), and against
// themselves in tiles.
#include "models/autoencoder/encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/models/autoencoder/decode_case.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kSets = fs::path(test::source_path("tests/reference"));

struct EncodeCase {
  std::vector<float> image, latent, latents;
  int64_t h = 0, w = 0;
};

EncodeCase read_encode_case(const std::string& set, int index) {
  EncodeCase c;
  const auto file = SafetensorsFile::open(kSets / set / "cases" /
                                          fmt::format("vae_encode_{}.safetensors", index));
  EXPECT_TRUE(file) << file.error().message;
  if (!file) return c;
  const TensorEntry* const latent = (*file)->find("latent");
  c.h = latent->view.shape[1];
  c.w = latent->view.shape[2];
  c.latent = *read_floats(*latent);
  c.image = *read_floats(*(*file)->find("image"));
  c.latents = *read_floats(*(*file)->find("latents"));
  return c;
}

PartFiles vae_of(const std::string& set) { return PartFiles::in(kSets / set / "tiny" / "vae"); }

class EncoderOf : public testing::TestWithParam<const char*> {};

// float32 against float64. bf16 rounds every activation (2^-9), over some thirty layers.
TEST_P(EncoderOf, GivesTheLatentsOfTheFormulas) {
  for (const CpuFeatures& cpu : test::levels()) {
    const Context context{.threads = 2, .cpu = cpu};
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      const auto vae = autoencoder::Encoder::load(context, vae_of(GetParam()), compute);
      ASSERT_TRUE(vae) << vae.error().message;
      for (const int index : {0, 1}) {
        const EncodeCase c = read_encode_case(GetParam(), index);
        ASSERT_FALSE(c.latent.empty());
        const std::vector<float> latent = test::encode(*vae, context, c.image, c.h, c.w);
        const double error = relative_error(latent, c.latent);
        const std::string name =
            fmt::format("{}_{}_{}", cpu_isa_name(cpu.isa), dtype_name(compute), index);
        if (std::getenv("INTAGLIO_PRINT_ERRORS") != nullptr) fmt::print("{} {:.2e}\n", name, error);
        RecordProperty(name, fmt::format("{:.2e}", error));
        EXPECT_LT(error, compute == DType::kF32 ? 1e-5 : 2.5e-2) << name;
      }
    }
  }
}

TEST_P(EncoderOf, PacksWhatTheDecoderUnpacks) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  auto encoder = autoencoder::Encoder::load(context, vae_of(GetParam()), DType::kF32);
  auto decoder = autoencoder::Decoder::load(context, vae_of(GetParam()), DType::kF32);
  ASSERT_TRUE(encoder && decoder);
  const EncodeCase c = read_encode_case(GetParam(), 1);
  for (const auto packing :
       {autoencoder::LatentPacking::kChannelFastest, autoencoder::LatentPacking::kChannelSlowest}) {
    encoder->set_packing(packing);
    decoder->set_packing(packing);
    std::vector<float> x(c.latent.size()), latent(c.latent.size());
    ASSERT_TRUE(encoder->pack_and_normalize(c.latent.data(), c.h / 2, c.w / 2, x.data()));
    ASSERT_TRUE(decoder->denormalize_and_unpack(x.data(), c.h / 2, c.w / 2, latent.data()));
    EXPECT_LT(relative_error(latent, c.latent), 1e-6);
    EXPECT_GT(relative_error(x, c.latent), 1e-2);
  }
}

TEST_P(EncoderOf, PlannedBytesAreThoseOfTheEncoder) {
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto json = JsonConfig::open(vae_of(GetParam()).config);
  const auto config = autoencoder::parse_decoder_config(*json);
  ASSERT_TRUE(config);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const auto vae = autoencoder::Encoder::load(context, vae_of(GetParam()), compute);
    ASSERT_TRUE(vae);
    EXPECT_EQ(autoencoder::Encoder::planned_bytes(context, *config, compute, 128, 160),
              vae->scratch_bytes(context, 16, 20));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EncoderOf, testing::Values("z_image", "flux2_klein", "krea2"),
                         [](const auto& info) { return std::string(info.param); });

// Where one tile covers, latents are that tile's to the bit; where several do, they lie between.
TEST(Encoder, TilesJoin) {
  constexpr int64_t kH = 8, kW = 20, kTile = 16, kScale = 8;
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  auto vae = autoencoder::Encoder::load(context, vae_of("flux2_klein"), DType::kF32);
  ASSERT_TRUE(vae) << vae.error().message;
  std::vector<float> image;
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < kH * kScale; ++y)
      for (int64_t x = 0; x < kW * kScale; ++x)
        image.push_back(std::sin(0.05f * static_cast<float>(x + 20 * c)) *
                        std::cos(0.07f * static_cast<float>(y)));
  std::vector<std::vector<float>> tiles;
  for (const int64_t left : {0, 4}) {
    std::vector<float> crop;
    for (int64_t row = 0; row < 3 * kH * kScale; ++row)
      for (int64_t x = 0; x < kTile * kScale; ++x)
        crop.push_back(image[static_cast<size_t>(row * kW * kScale + left * kScale + x)]);
    tiles.push_back(test::encode(*vae, context, crop, kH, kTile));
  }
  vae->set_tile(kTile);
  int64_t calls = 0, last = 0;
  const std::vector<float> tiled =
      test::encode(*vae, context, image, kH, kW, [&](int64_t done, int64_t total) {
        EXPECT_EQ(done, ++calls);
        last = total;
      });
  EXPECT_EQ(calls, last);
  for (int64_t line = 0; line < 4 * kH; ++line) {
    for (int64_t x = 0; x < kW; ++x) {
      const auto value = tiled[static_cast<size_t>(line * kW + x)];
      const auto first = static_cast<size_t>(line * kTile + x);
      if (x < 4) {
        EXPECT_EQ(value, tiles[0][first]);
      } else if (x >= kTile) {
        EXPECT_EQ(value, tiles[1][first - 4]);
      } else {
        const auto [low, high] = std::minmax(tiles[0][first], tiles[1][first - 4]);
        EXPECT_GE(value, low - 1e-5f);
        EXPECT_LE(value, high + 1e-5f);
      }
    }
  }
}

TEST(Encoder, StopsOnRequest) {
  std::atomic<bool> cancel{true};
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  const auto vae = autoencoder::Encoder::load(context, vae_of("z_image"), DType::kF32);
  ASSERT_TRUE(vae);
  auto arena = Arena::with_capacity(vae->scratch_bytes(context, 2, 2));
  Context stopped = context;
  stopped.scratch = &*arena;
  stopped.cancel = &cancel;
  const std::vector<float> image(3 * 16 * 16);
  std::vector<float> latent(4 * 2 * 2);
  const Status status = vae->encode(stopped, image.data(), 2, 2, latent.data(), {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
}

// The tiny weights under names that `rename` makes; an empty name leaves one out.
Status check_renamed(const std::function<std::string(const std::string&)>& rename) {
  const TempFolder folder;
  const PartFiles files = vae_of("z_image");
  const auto file = SafetensorsFile::open(files.weights / "diffusion_pytorch_model.safetensors");
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  for (const TensorEntry& entry : (*file)->tensors()) {
    std::string name = rename(entry.name);
    if (name.empty()) continue;
    tensors.push_back(*read_tensor(entry));
    entries.push_back({std::move(name), tensors.back().view});
  }
  EXPECT_TRUE(write_safetensors(folder / "vae.safetensors", entries));
  const auto config = autoencoder::parse_decoder_config(*JsonConfig::open(files.config));
  return autoencoder::check_encoder_weights(*Checkpoint::open(folder / "vae.safetensors"), *config);
}

TEST(Encoder, OneThatIsMissingIsSaidSo) {
  const Status whole = check_renamed([](const std::string& name) { return name; });
  EXPECT_TRUE(whole) << whole.error().message;
  const Status none = check_renamed(
      [](const std::string& name) { return name.starts_with("encoder.") ? std::string() : name; });
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(none.error().message, HasSubstr("holds no encoder"));
  const Status less = check_renamed([](const std::string& name) {
    return name == "encoder.down_blocks.1.downsamplers.0.conv.bias" ? std::string() : name;
  });
  ASSERT_FALSE(less);
  EXPECT_THAT(less.error().message,
              HasSubstr("encoder.down_blocks.1.downsamplers.0.conv.bias: missing"));
  const Status more = check_renamed([](const std::string& name) {
    return name == "encoder.down_blocks.3.resnets.0.conv1.bias"
               ? "encoder.down_blocks.4.resnets.0.conv1.bias"
               : name;
  });
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().message, HasSubstr("block_out_channels"));
}

// The tiny autoencoder of `set` with another config, and tensors called as `rename` says; beside
// them those of `more`, of ones.
class Changed {
 public:
  Changed(const std::string& set, const nlohmann::json& config,
          const std::map<std::string, std::string>& rename, const TensorShapes& more = {}) {
    const PartFiles files = vae_of(set);
    nlohmann::json json = JsonConfig::open(files.config)->json();
    json.update(config);
    folder_.write("config.json", json.dump());
    const auto file = SafetensorsFile::open(files.weights / "diffusion_pytorch_model.safetensors");
    std::vector<Tensor> tensors;
    std::vector<TensorEntry> entries;
    for (const TensorEntry& entry : (*file)->tensors()) {
      const auto renamed = rename.find(entry.name);
      const std::string& name = renamed == rename.end() ? entry.name : renamed->second;
      if (name.empty()) continue;
      tensors.push_back(*read_tensor(entry));
      entries.push_back({name, tensors.back().view});
    }
    const std::vector<float> ones(1024, 1.0f);
    for (const auto& [name, shape] : more)
      entries.push_back({name, {ones.data(), DType::kF32, shape}});
    EXPECT_TRUE(write_safetensors(folder_ / "diffusion_pytorch_model.safetensors", entries));
  }

  Expected<autoencoder::Encoder> encoder() const {
    return autoencoder::Encoder::load(context, PartFiles::in(folder_.path()), DType::kF32);
  }
  Expected<autoencoder::Decoder> decoder() const {
    return autoencoder::Decoder::load(context, PartFiles::in(folder_.path()), DType::kF32);
  }

  const Context context{.threads = 1, .cpu = host_cpu_features()};

 private:
  TempFolder folder_;
};

// What the config denies and the file holds, under either of its names, would be passed over.
TEST(Autoencoder, AModuleThatTheConfigDeniesIsNotInTheFile) {
  const std::map<std::string, std::string> original{
      {"quant_conv.weight", "encoder.quant_conv.weight"},
      {"quant_conv.bias", "encoder.quant_conv.bias"},
      {"post_quant_conv.weight", "decoder.post_quant_conv.weight"},
      {"post_quant_conv.bias", "decoder.post_quant_conv.bias"}};
  for (const auto& names : {std::map<std::string, std::string>(), original}) {
    const Changed changed("flux2_klein",
                          {{"use_quant_conv", false}, {"use_post_quant_conv", false}}, names);
    EXPECT_THAT(changed.encoder().error().message,
                HasSubstr("holds quant_conv.weight, but use_quant_conv is false in the config"));
    EXPECT_THAT(
        changed.decoder().error().message,
        HasSubstr("holds post_quant_conv.weight, but use_post_quant_conv is false in the config"));
  }
  const Changed plain("flux2_klein", {{"mid_block_add_attention", false}}, {});
  EXPECT_THAT(plain.encoder().error().message,
              HasSubstr("encoder.mid_block.attentions.0.to_q.weight, but mid_block_add_attention"));
  EXPECT_THAT(plain.decoder().error().message,
              HasSubstr("decoder.mid_block.attentions.0.to_q.weight, but mid_block_add_attention"));
  const Changed less("flux2_klein", nlohmann::json::object(),
                     {{"quant_conv.weight", ""}, {"post_quant_conv.bias", ""}});
  EXPECT_THAT(less.encoder().error().message, HasSubstr("quant_conv.weight: missing"));
  EXPECT_THAT(less.decoder().error().message, HasSubstr("post_quant_conv.bias: missing"));
}

// An AutoencoderKL applies it, under either of its names.
TEST(Autoencoder, AQuantConvOfAnAutoencoderKlIsApplied) {
  const std::vector<float> image(3 * 16 * 16, 0.25f);
  std::vector<std::vector<float>> latents;
  for (const char* const prefix : {"quant_conv", "encoder.quant_conv"}) {
    const Changed changed(
        "z_image", nlohmann::json::object(), {},
        {{fmt::format("{}.weight", prefix), {8, 8, 1, 1}}, {fmt::format("{}.bias", prefix), {8}}});
    const auto vae = changed.encoder();
    ASSERT_TRUE(vae) << vae.error().message;
    latents.push_back(test::encode(*vae, changed.context, image, 2, 2));
  }
  EXPECT_EQ(latents[0], latents[1]);
  // Of ones: each channel is 1 and the sum of all.
  EXPECT_EQ(latents[0][0], latents[0][4]);
}

}  // namespace
}  // namespace intaglio
