// The VAE decoder against pictures of the published code, and against itself in tiles.
#include "models/autoencoder/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "unit/models/autoencoder/decode_case.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using test::decode;

const fs::path kData = fs::path(test::source_path("tests/reference/data"));
const fs::path kVae = kData / "tiny" / "vae";

// float32 against float32 sums in another order: 1e-6 measured. bf16 rounds every activation
// (2^-9), over some forty layers.
TEST(decoder, gives_the_published_pictures) {
  test::expect_published_pictures(kData, 1e-5, 2.5e-2);
}

TEST(decoder, one_thread_gives_the_same_bits) {
  const test::DecodeCase c = test::read_case(kData, 1);
  const auto vae = autoencoder::Decoder::load({.threads = 2, .cpu = host_cpu_features()},
                                              PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae);
  EXPECT_EQ(decode(*vae, {.threads = 1, .cpu = host_cpu_features()}, c.latent, c.h, c.w),
            decode(*vae, {.threads = 3, .cpu = host_cpu_features()}, c.latent, c.h, c.w));
}

// A smooth latent [4, h, w], so that the picture has no edges of its own.
std::vector<float> smooth_latent(int64_t h, int64_t w) {
  std::vector<float> latent;
  for (int64_t c = 0; c < 4; ++c) {
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        latent.push_back(std::sin(0.11f * static_cast<float>(x + 5 * c)) +
                         std::cos(0.13f * static_cast<float>(y)));
      }
    }
  }
  return latent;
}

// Tiles have their own statistics, so with random weights they do not resemble the whole picture.
// What must hold: where one tile covers, the result is that tile to the bit; where several do, it
// lies between them; and no step between neighbours is larger than the picture's own.
TEST(decoder, tiles_join_without_seams) {
  constexpr int64_t kH = 32, kW = 40, kTile = 16, kScale = 8;
  constexpr int64_t kRowStarts[] = {0, 8, 16}, kColumnStarts[] = {0, 12, 24};
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae);
  const std::vector<float> latent = smooth_latent(kH, kW);
  const size_t whole_bytes = vae->scratch_bytes(context, kH, kW);
  const std::vector<float> whole = decode(*vae, context, latent, kH, kW);

  std::vector<float> low(whole.size(), 1e9f), high(whole.size(), -1e9f);
  for (const int64_t top : kRowStarts) {
    for (const int64_t left : kColumnStarts) {
      std::vector<float> crop;
      for (int64_t c = 0; c < 4; ++c) {
        for (int64_t y = 0; y < kTile; ++y) {
          for (int64_t x = 0; x < kTile; ++x)
            crop.push_back(latent[static_cast<size_t>((c * kH + top + y) * kW + left + x)]);
        }
      }
      const std::vector<float> tile = decode(*vae, context, crop, kTile, kTile);
      size_t at = 0;
      for (int64_t c = 0; c < 3; ++c) {
        for (int64_t y = 0; y < kTile * kScale; ++y) {
          for (int64_t x = 0; x < kTile * kScale; ++x, ++at) {
            const auto i = static_cast<size_t>(((c * kH + top) * kScale + y) * kW * kScale +
                                               left * kScale + x);
            low[i] = std::min(low[i], tile[at]);
            high[i] = std::max(high[i], tile[at]);
          }
        }
      }
    }
  }

  vae->set_tile(kTile);
  EXPECT_LT(vae->scratch_bytes(context, kH, kW), whole_bytes / 3);
  EXPECT_EQ(vae->scratch_bytes(context, kH, kW), vae->scratch_bytes(context, kTile, kTile))
      << "memory grows with the picture";
  int64_t calls = 0;
  int64_t last = 0;
  const std::vector<float> tiled =
      decode(*vae, context, latent, kH, kW, [&](int64_t done, int64_t total) {
        EXPECT_EQ(done, ++calls);
        last = total;
      });
  EXPECT_EQ(calls, last);
  for (size_t i = 0; i < tiled.size(); ++i) {
    const float slack = low[i] == high[i] ? 0.0f : 1e-5f;  // roundings of the blend
    ASSERT_GE(tiled[i], low[i] - slack) << "pixel " << i;
    ASSERT_LE(tiled[i], high[i] + slack) << "pixel " << i;
  }
  const auto largest_step = [](const std::vector<float>& image) {
    float largest = 0.0f;
    for (size_t i = 1; i < image.size(); ++i) {
      if (i % (kW * kScale) != 0) largest = std::max(largest, std::abs(image[i] - image[i - 1]));
    }
    return largest;
  };
  EXPECT_LT(largest_step(tiled), 2.0f * largest_step(whole));
}

TEST(decoder, stops_on_request) {
  Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae);
  const test::DecodeCase c = test::read_case(kData, 0);
  std::vector<float> image(c.image.size());
  auto arena = Arena::with_capacity(vae->scratch_bytes(context, c.h, c.w));
  ASSERT_TRUE(arena);
  std::atomic<bool> cancel{false};
  context.cancel = &cancel;
  context.scratch = &*arena;
  int64_t last = 0;
  const Status status =
      vae->decode(context, c.latent.data(), c.h, c.w, image.data(), [&](int64_t done, int64_t) {
        last = done;
        if (done == 3) cancel = true;
      });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(last, 3);
}

TEST(decoder, denormalizes_and_unpacks_by_the_formula) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae);
  const auto checkpoint = Checkpoint::open(kVae);
  ASSERT_TRUE(checkpoint);
  const std::vector<float> mean = *read_floats(*(*checkpoint)->find("bn.running_mean"));
  const std::vector<float> variance = *read_floats(*(*checkpoint)->find("bn.running_var"));
  constexpr int64_t kH = 2, kW = 3, kC = 4;
  std::vector<float> x;
  for (int i = 0; i < kH * kW * 4 * kC; ++i) x.push_back(static_cast<float>(i) * 0.25f - 7.0f);
  std::vector<float> latent(x.size());
  for (const auto packing :
       {autoencoder::LatentPacking::kChannelFastest, autoencoder::LatentPacking::kChannelSlowest}) {
    vae->set_packing(packing);
    ASSERT_TRUE(vae->denormalize_and_unpack(x.data(), kH, kW, latent.data()));
    const bool fastest = packing == autoencoder::LatentPacking::kChannelFastest;
    for (int64_t place = 0; place < kH * kW * 4 * kC; ++place) {
      const int64_t c = place % kC, dx = place / kC % 2, dy = place / kC / 2 % 2;
      const int64_t w = place / kC / 4 % kW, h = place / kC / 4 / kW;
      const auto i = static_cast<size_t>(fastest ? (dy * 2 + dx) * kC + c : c * 4 + dy * 2 + dx);
      const double expected = static_cast<double>(x[static_cast<size_t>(h * kW + w) * 16 + i]) *
                                  std::sqrt(static_cast<double>(variance[i]) + 1e-4) +
                              static_cast<double>(mean[i]);
      EXPECT_NEAR(latent[static_cast<size_t>((c * 2 * kH + 2 * h + dy) * 2 * kW + 2 * w + dx)],
                  expected, 1e-5);
    }
  }
}

TEST(decoder, planned_bytes_are_those_of_the_decoder) {
  const Context context{.threads = 2, .cpu = host_cpu_features()};
  const auto json = JsonConfig::open(kVae / "config.json");
  ASSERT_TRUE(json);
  const auto config = autoencoder::parse_decoder_config(*json);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->scale_factor(), 8);
  const auto vae = autoencoder::Decoder::load(context, PartFiles::in(kVae), DType::kF32);
  ASSERT_TRUE(vae);
  EXPECT_EQ(autoencoder::Decoder::planned_bytes(context, *config, DType::kF32, 128, 160),
            vae->scratch_bytes(context, 16, 20));
}

TEST(decoder, lists_every_missing_tensor) {
  const fs::path folder = fs::path(testing::TempDir()) / "decoder_missing";
  fs::create_directories(folder);
  fs::copy_file(kVae / "config.json", folder / "config.json", fs::copy_options::overwrite_existing);
  const float zeros[16] = {};
  const std::vector<TensorEntry> tensors{{"bn.running_mean", {zeros, DType::kF32, {16}}},
                                         {"bn.running_var", {zeros, DType::kF32, {15}}}};
  ASSERT_TRUE(write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors));
  const auto vae =
      autoencoder::Decoder::load({.cpu = host_cpu_features()}, PartFiles::in(folder), DType::kF32);
  ASSERT_FALSE(vae);
  EXPECT_EQ(vae.error().code, ErrorCode::kShapeMismatch);
  for (const char* name : {"bn.running_var", "decoder.conv_in.weight",
                           "decoder.mid_block.attentions.0.to_v.bias", "decoder.conv_out.bias"}) {
    EXPECT_NE(vae.error().message.find(name), std::string::npos) << name;
  }
  EXPECT_EQ(vae.error().message.find("bn.running_mean"), std::string::npos);
  fs::remove_all(folder);
}

TEST(decoder, refuses_configs_it_cannot_serve) {
  const auto parse = [](std::string_view text) {
    const auto json = JsonConfig::parse(text, "config.json");
    return json && autoencoder::parse_decoder_config(*json).has_value();
  };
  EXPECT_TRUE(parse(
      R"({"latent_channels":4,"block_out_channels":[16,32],"layers_per_block":1,"norm_num_groups":16})"));
  EXPECT_FALSE(parse(
      R"({"latent_channels":4,"block_out_channels":[16,33],"layers_per_block":1,"norm_num_groups":16})"));
  EXPECT_FALSE(parse(
      R"({"latent_channels":4,"block_out_channels":[],"layers_per_block":1,"norm_num_groups":16})"));
  EXPECT_FALSE(parse(
      R"({"latent_channels":0,"block_out_channels":[16],"layers_per_block":1,"norm_num_groups":16})"));
  EXPECT_FALSE(parse(
      R"({"latent_channels":4,"block_out_channels":[16],"layers_per_block":1,"norm_num_groups":16,"act_fn":"relu"})"));
  EXPECT_FALSE(parse(
      R"({"latent_channels":4,"block_out_channels":[16],"layers_per_block":1,"norm_num_groups":16,"out_channels":4})"));
  const std::string good =
      R"("latent_channels":4,"block_out_channels":[16,32],"layers_per_block":1,"norm_num_groups":16)";
  for (const char* same :
       {R"("act_fn":"swish")", R"("scaling_factor":1.0,"shift_factor":0)", R"("patch_size":[2,2])",
        R"("up_block_types":["UpDecoderBlock2D","UpDecoderBlock2D"])",
        R"("decoder_block_out_channels":[32,32])", R"("_class_name":"AutoencoderKLFlux2")",
        R"("_class_name":"AutoencoderKL","scaling_factor":0.3611,"shift_factor":0.1159)",
        R"("down_block_types":["X"],"in_channels":4,"use_quant_conv":false)"})
    EXPECT_TRUE(parse("{" + good + "," + same + "}")) << same;
  for (const char* other :
       {R"("scaling_factor":0.3611)", R"("shift_factor":0.1159)", R"("patch_size":[1,1])",
        R"("up_block_types":["UpDecoderBlock2D"])",
        R"("up_block_types":["UpDecoderBlock2D","AttnUpDecoderBlock2D"])",
        R"("decoder_block_out_channels":[32])", R"("_class_name":"AutoencoderKLQwenImage")",
        R"("_class_name":"AutoencoderKL","scaling_factor":0)", R"("batch_norm_eps":-1)",
        R"("latents_mean":[0.1])", R"("norm_type":"spatial")"})
    EXPECT_FALSE(parse("{" + good + "," + other + "}")) << other;
}

}  // namespace
}  // namespace intaglio
