// The packed weights of a convolution, and the choice of its config.
#include "ops/cuda/launch/conv2d_pack.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "ops/cuda/launch/conv2d_choice.h"

namespace intaglio::cuda {
namespace {

float read(const std::vector<unsigned char>& packed, Conv2dType type, int64_t index) {
  if (type == Conv2dType::kF32) {
    float value = 0.0f;
    std::memcpy(&value, packed.data() + 4 * index, 4);
    return value;
  }
  BFloat16 value;
  std::memcpy(&value, packed.data() + 2 * index, 2);
  return static_cast<float>(value);
}

std::vector<unsigned char> pack(const Conv2dPack& c, const std::vector<float>& w) {
  std::vector<unsigned char> packed(static_cast<size_t>(packed_conv2d_bytes(c)), 0xa5);
  pack_conv2d_weights(c, w.data(), packed.data());
  return packed;
}

TEST(Conv2dPackTest, OrderIsOutputTapChannelWithZerosBehind) {
  for (const Conv2dType type : {Conv2dType::kF32, Conv2dType::kBF16}) {
    for (const int kernel : {1, 3}) {
      const Conv2dPack c{.in_channels = 5, .out_channels = 3, .kernel = kernel, .type = type};
      const int taps = kernel * kernel;
      std::vector<float> w(static_cast<size_t>(3 * 5 * taps));
      for (size_t i = 0; i < w.size(); ++i) w[i] = 1.0f + static_cast<float>(i);
      const auto packed = pack(c, w);
      ASSERT_EQ(packed.size(), static_cast<size_t>(3 * taps * 8 * conv2d_element_bytes(type)));
      for (int o = 0; o < 3; ++o) {
        for (int tap = 0; tap < taps; ++tap) {
          for (int i = 0; i < 8; ++i) {
            const float want = i < 5 ? w[static_cast<size_t>((o * 5 + i) * taps + tap)] : 0.0f;
            EXPECT_EQ(read(packed, type, (o * taps + tap) * 8 + i), want);
          }
        }
      }
    }
  }
}

TEST(Conv2dPackTest, Bf16RoundsToNearestEvenAfterTheSum) {
  // 1 + 2^-8 is halfway between two bf16: to the even one below; 1 + 3 * 2^-8 to the even one
  // above.
  const Conv2dPack plain{.in_channels = 2, .out_channels = 1, .kernel = 1};
  const auto packed = pack(plain, {1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f});
  EXPECT_EQ(read(packed, Conv2dType::kBF16, 0), 1.0f);
  EXPECT_EQ(read(packed, Conv2dType::kBF16, 1), 1.0f + 0x1p-6f);
  // Four taps of a quarter of that sum to the same.
  const Conv2dPack folded{.in_channels = 1, .out_channels = 1, .kernel = 3, .upsample = 1};
  const auto phases = pack(folded, std::vector<float>(9, 0.25f + 0x1.8p-9f));
  EXPECT_EQ(read(phases, Conv2dType::kBF16, 3 * 8), 1.0f + 0x1p-6f);  // phase 0, tap 3: four taps
}

// Every tap of the window, for every output, must be in exactly the phase tap that reads its pixel.
TEST(Conv2dPackTest, PhasesReadThePixelsOfTheUpsampledPicture) {
  const Conv2dPack c{
      .in_channels = 1, .out_channels = 1, .kernel = 3, .upsample = 1, .type = Conv2dType::kF32};
  std::vector<float> w(9);
  for (size_t i = 0; i < 9; ++i) w[i] = static_cast<float>(1 << i);
  const auto packed = pack(c, w);
  ASSERT_EQ(packed.size(), size_t{4 * 4 * 4 * 4});
  const Conv2dParams p{.height = 8,
                       .width = 6,
                       .in_channels = 1,
                       .out_channels = 1,
                       .kernel = 3,
                       .upsample = 1,
                       .type = Conv2dType::kF32};
  const Conv2dGeometry g = conv2d_geometry(p);
  ASSERT_EQ(g.phases, 4);
  std::vector<int> seen(48, 0);
  for (int phase = 0; phase < 4; ++phase) {
    for (int pixel = 0; pixel < g.pixels; ++pixel) {
      const int out = conv2d_output_pixel(g, phase, pixel);
      ++seen[static_cast<size_t>(out)];
      const int oy = out / 6, ox = out % 6;
      // What each pixel of x is multiplied by: directly, and by the phase.
      std::vector<float> want(12, 0.0f), got(12, 0.0f);
      for (int t = 0; t < 9; ++t) {
        const int y = oy + t / 3 - 1, x = ox + t % 3 - 1;
        if (y < 0 || y >= 8 || x < 0 || x >= 6) continue;
        want[static_cast<size_t>(y / 2 * 3 + x / 2)] += w[static_cast<size_t>(t)];
      }
      const uint32_t mask = conv2d_tap_mask(g, phase, pixel);
      for (int t = 0; t < 4; ++t) {
        if ((mask >> t & 1) == 0) continue;
        const int y = pixel / 3 + conv2d_first_row(g, phase) + t / 2;
        const int x = pixel % 3 + conv2d_first_column(g, phase) + t % 2;
        ASSERT_TRUE(y >= 0 && y < 4 && x >= 0 && x < 3);
        got[static_cast<size_t>(y * 3 + x)] += read(packed, c.type, (phase * 4 + t) * 4);
      }
      EXPECT_EQ(got, want) << "phase " << phase << " pixel " << pixel;
    }
  }
  for (const int times : seen) EXPECT_EQ(times, 1);
}

TEST(Conv2dPackTest, TapMaskStopsAtTheBorder) {
  const Conv2dParams p{.height = 2, .width = 3, .in_channels = 1, .out_channels = 1, .kernel = 3};
  const Conv2dGeometry g = conv2d_geometry(p);
  EXPECT_EQ(conv2d_tap_mask(g, 0, 0), 0b110110000u);
  EXPECT_EQ(conv2d_tap_mask(g, 0, 1), 0b111111000u);
  EXPECT_EQ(conv2d_tap_mask(g, 0, 5), 0b000011011u);
  EXPECT_EQ(conv2d_tap_mask(g, 0, 6), 0u);
}

constexpr Conv2dConfig kConfigs[] = {
    {128, 256, 128, 3, 256, 147456, 1, false}, {256, 128, 128, 3, 256, 147456, 1, false},
    {128, 256, 64, 4, 256, 98304, 1, false},   {256, 128, 64, 4, 256, 98304, 1, false},
    {128, 128, 128, 3, 128, 98304, 2, false},  {128, 128, 64, 4, 128, 65536, 2, false},
    {64, 64, 128, 4, 128, 65536, 3, false},    {128, 16, 64, 4, 128, 36864, 4, false},
    {64, 64, 64, 3, 128, 24576, 2, true}};
constexpr Conv2dDevice kH100{.sms = 132, .smem_per_block = 232448, .smem_per_sm = 233472};
constexpr Conv2dDevice kRtx3090{.sms = 82, .smem_per_block = 101376, .smem_per_sm = 102400};

const Conv2dConfig& chosen(int size, int in, int out, const Conv2dDevice& device) {
  const Conv2dParams p{.height = size,
                       .width = size,
                       .in_channels = in,
                       .out_channels = out,
                       .kernel = 3,
                       .type = Conv2dType::kBF16};
  const int index = choose_conv2d_config(kConfigs, p, device);
  EXPECT_GE(index, 0);
  return kConfigs[index < 0 ? 0 : index];
}

TEST(Conv2dChoiceTest, LargeLayersTakeLargeTiles) {
  EXPECT_EQ(chosen(256, 512, 512, kH100).tile_n, 256);
  EXPECT_EQ(chosen(256, 512, 512, kH100).tile_k_bytes, 128);
  EXPECT_EQ(chosen(1024, 128, 128, kH100).tile_m, 256);
  EXPECT_EQ(chosen(256, 512, 512, kRtx3090).tile_k_bytes, 64);
}

TEST(Conv2dChoiceTest, FewOutputChannelsTakeTheNarrowTile) {
  EXPECT_EQ(chosen(1024, 128, 3, kH100).tile_n, 16);
  EXPECT_EQ(chosen(1024, 128, 3, kRtx3090).tile_n, 16);
}

TEST(Conv2dChoiceTest, SmallPicturesTakeSmallTiles) {
  EXPECT_LE(chosen(16, 512, 512, kH100).tile_m, 64);
}

TEST(Conv2dChoiceTest, UnalignedPixelsTakeTheConfigForThem) {
  EXPECT_TRUE(chosen(64, 3, 64, kH100).any_channels);
  EXPECT_TRUE(chosen(64, 4, 64, kRtx3090).any_channels);
  EXPECT_FALSE(chosen(64, 40, 64, kH100).any_channels);
}

TEST(Conv2dChoiceTest, NothingFitsATinyDevice) {
  const Conv2dParams p{.height = 8,
                       .width = 8,
                       .in_channels = 8,
                       .out_channels = 8,
                       .kernel = 3,
                       .type = Conv2dType::kBF16};
  EXPECT_EQ(
      choose_conv2d_config(kConfigs, p, {.sms = 1, .smem_per_block = 1024, .smem_per_sm = 1024}),
      -1);
}

}  // namespace
}  // namespace intaglio::cuda
