#include "ops/cuda/tuning/s8_gemm_heuristic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "gpus.h"

namespace intaglio::cuda {
namespace {

S8GemmChoice choose(const CudaDevice& device, const S8GemmShape& shape) {
  return heuristic_s8_gemm(device, shape, tile_configs(device));
}

TileConfig config_of(const CudaDevice& device, S8GemmFamily family, const std::string& name) {
  for (const TileConfig& config : tile_configs(device)) {
    if (config.family == family && config.name == name) return config;
  }
  ADD_FAILURE() << "no config " << name;
  return {};
}

double tops(const S8GemmShape& s, double ms) {
  return 2e-9 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k) / ms;
}

TEST(S8GemmHeuristic, HopperTakesWgmmaUnlessRowsAreNotAligned) {
  EXPECT_EQ(choose(h100(), {4608, 4608, 4608}).family, S8GemmFamily::kSm90a);
  EXPECT_EQ(choose(h100(), {4608, 24576, 4608, GemmEpilogue::kSwiglu}).config, "128x256x128");
  EXPECT_EQ(choose(h100(), {4608, 4608, 4600}).config, "sm80_64x64x64_3_any_rows");
}

TEST(S8GemmHeuristic, FamilyFollowsTheInstructions) {
  EXPECT_EQ(choose(tesla_t4(), {4096, 4096, 4096}).family, S8GemmFamily::kSm75);
  EXPECT_EQ(choose(rtx_3090(), {4096, 4096, 4096}).family, S8GemmFamily::kSm80);
  EXPECT_EQ(choose(a100(), {4096, 4096, 4096}).family, S8GemmFamily::kSm80);
  CudaDevice blackwell = h100();
  blackwell.compute_capability = 100;
  EXPECT_EQ(choose(blackwell, {4096, 4096, 4096}).family, S8GemmFamily::kSm80);
}

TEST(S8GemmHeuristic, FewRowsAreBoundByTheWeights) {
  for (const CudaDevice& device : {rtx_3090(), a100(), h100()}) {
    const S8GemmChoice choice = choose(device, {1, 18432, 512});
    EXPECT_EQ(choice.family, S8GemmFamily::kSmallM) << device.name;
    EXPECT_EQ(choice.config, "small_m_8x16");
    EXPECT_EQ(choose(device, {16, 18432, 4608}).config, "small_m_16x16") << device.name;
    EXPECT_NE(choose(device, {65, 18432, 4608}).family, S8GemmFamily::kSmallM);
  }
}

// A tile that no card would take costs every build its compile time.
TEST(S8GemmHeuristic, EveryTileIsTakenSomewhere) {
  std::set<std::string> listed, taken;
  for (const CudaDevice& device : {tesla_t4(), a100(), rtx_3090(), h100()}) {
    for (const TileConfig& config : tile_configs(device)) listed.insert(config.name);
    for (const int64_t m : {1, 16, 24, 48, 64, 100, 128, 200, 320, 512, 1024, 2048, 4096, 4608})
      for (const int64_t n : {64, 256, 1024, 2048, 4096, 4608, 9216, 13824, 24576})
        for (const int64_t k : {120, 512, 2048, 4608, 12288})
          taken.insert(choose(device, {m, n, k}).config);
    // Few columns and very many rows: tiles that are higher than wide.
    taken.insert(choose(device, {20000, 128, 12288}).config);
    taken.insert(choose(device, {12288, 128, 10240}).config);
  }
  EXPECT_EQ(taken, listed);
}

TEST(S8GemmHeuristic, SharedMemoryOfTheArchitectureIsKept) {
  TileConfig big = config_of(a100(), S8GemmFamily::kSm80, "sm80_128x256x128_3");
  const S8GemmShape shape{4096, 4096, 4096};
  EXPECT_EQ(refuse_tile(a100(), shape, big), nullptr);
  EXPECT_STREQ(refuse_tile(rtx_3090(), shape, big), "too much shared memory for a block");
  big.smem_bytes = 99 << 10;
  EXPECT_EQ(refuse_tile(rtx_3090(), shape, big), nullptr);
  ++big.smem_bytes;
  EXPECT_NE(refuse_tile(rtx_3090(), shape, big), nullptr);
  // What the device itself says counts when it is less, and nothing said means the architecture's
  // limit.
  CudaDevice limited = a100();
  limited.shared_bytes_per_block = 48 << 10;
  EXPECT_NE(refuse_tile(limited, shape, big), nullptr);
  limited.shared_bytes_per_block = 0;
  EXPECT_EQ(refuse_tile(limited, shape, big), nullptr);
}

TEST(S8GemmHeuristic, NothingRunsMeansAnEmptyName) {
  EXPECT_TRUE(heuristic_s8_gemm(rtx_3090(), {64, 64, 64}, {}).config.empty());
  CudaDevice old = rtx_3090();
  old.compute_capability = 61;
  EXPECT_TRUE(choose(old, {64, 64, 64}).config.empty());
  EXPECT_TRUE(choose(rtx_3090(), {0, 64, 64}).config.empty());
  CudaDevice empty;
  empty.compute_capability = 86;
  EXPECT_TRUE(choose(empty, {64, 64, 64}).config.empty());
}

// The last wave costs as much as a full one: a tile more than the multiprocessors hold doubles the
// time.
TEST(S8GemmHeuristic, WavesAreQuantized) {
  const CudaDevice device = rtx_3090();
  const TileConfig tile = config_of(device, S8GemmFamily::kSm80, "sm80_128x256x64_4");
  const S8GemmChoice choice{tile.family, tile.name, 1, 1};
  const auto products = [&](int64_t columns) {
    return predicted_time(device, {128, 256 * columns, 4096}, tile, choice).products_ms;
  };
  EXPECT_DOUBLE_EQ(products(1), products(82));
  EXPECT_DOUBLE_EQ(2 * products(82), products(83));
  EXPECT_DOUBLE_EQ(products(83), products(164));
}

TEST(S8GemmHeuristic, FewTilesSplitK) {
  const S8GemmChoice few = choose(rtx_3090(), {128, 512, 12288});
  EXPECT_GT(few.split_k, 1);
  const S8GemmChoice many = choose(rtx_3090(), {4608, 4608, 12288});
  EXPECT_EQ(many.split_k, 1);
  const S8GemmChoice shallow = choose(rtx_3090(), {128, 512, 256});
  EXPECT_EQ(shallow.split_k, 1);
}

TEST(S8GemmHeuristic, FewWideTilesSplitKOnHopper) {
  // 36 clusters' tiles of 256 columns for 66 pairs of multiprocessors.
  const S8GemmChoice text = choose(h100(), {512, 4608, 53248});
  EXPECT_EQ(text.family, S8GemmFamily::kSm90a);
  EXPECT_GT(text.split_k, 1) << text.config;
  for (const int64_t m : {2304, 4096, 4608, 16384})
    EXPECT_EQ(choose(h100(), {m, 13824, 4608}).split_k, 1) << m;
}

TEST(S8GemmHeuristic, BandFollowsTheL2) {
  CudaDevice device = rtx_3090();
  const TileConfig tile = config_of(device, S8GemmFamily::kSm80, "sm80_128x256x64_4");
  const S8GemmShape shape{6144, 18432, 4608};
  const int32_t small = band_for(device, shape, tile);
  device.l2_bytes = 96 << 20;
  const int32_t large = band_for(device, shape, tile);
  EXPECT_EQ(small, 6);  // columns: 6 x 256 across, 14 x 128 down are 82 tiles, as square as it gets
  EXPECT_GT(large, small);
  EXPECT_EQ(band_for(device, {6144, 256, 4608}, tile), 1);
  // Equal bands: 72 columns of tiles never end in a thin one.
  EXPECT_LT((72 + large - 1) / large * large - 72, large / 2 + 1);
  // Hopper's bands are rows of clusters.
  const TileConfig hopper = config_of(h100(), S8GemmFamily::kSm90a, "128x256x128");
  EXPECT_EQ(band_for(h100(), {256, 18432, 4608}, hopper), 1);
  EXPECT_GE(band_for(h100(), shape, hopper), 8);
}

TEST(S8GemmHeuristic, PredictionsAreBelowTheCardAndGrowWithTheWork) {
  for (const CudaDevice& device : {rtx_3090(), a100(), h100(), tesla_t4()}) {
    const GpuArch& arch = *gpu_arch(device.compute_capability);
    const double peak = 2e-3 * std::max(arch.mma_macs_per_clock, arch.wgmma_macs_per_clock) *
                        arch.clock_ghz * device.multiprocessors;
    for (const S8GemmShape& shape : {S8GemmShape{4608, 4608, 4608}, S8GemmShape{6144, 24576, 4608},
                                     S8GemmShape{256, 18432, 4096}, S8GemmShape{1, 64, 64}}) {
      const auto ranked = rank_s8_gemm(device, shape, tile_configs(device));
      ASSERT_FALSE(ranked.empty());
      EXPECT_TRUE(std::isfinite(ranked.front().predicted_ms));
      EXPECT_LT(tops(shape, ranked.front().predicted_ms), peak);
      EXPECT_GE(ranked.front().predicted_ms, 0.003);
      for (size_t i = 1; i < ranked.size(); ++i)
        EXPECT_LE(ranked[i - 1].predicted_ms, ranked[i].predicted_ms);
    }
    const auto time = [&](const S8GemmShape& shape) {
      return rank_s8_gemm(device, shape, tile_configs(device)).front().predicted_ms;
    };
    EXPECT_LT(time({4608, 4608, 4608}), time({4608, 4608, 12288}));
    EXPECT_LT(time({2048, 4608, 4608}), time({4608, 4608, 4608}));
  }
  // A large product should come near what a well-made kernel reaches.
  const S8GemmShape large{6144, 24576, 4608};
  EXPECT_GT(
      tops(large, rank_s8_gemm(rtx_3090(), large, tile_configs(rtx_3090())).front().predicted_ms),
      0.8 * 284);
}

TEST(S8GemmHeuristic, RefusedChoicesTakeForever) {
  const TileConfig tile = config_of(h100(), S8GemmFamily::kSm90a, "128x256x128");
  EXPECT_TRUE(std::isinf(predicted_ms(rtx_3090(), {64, 64, 64}, tile, {})));
  EXPECT_TRUE(std::isinf(predicted_ms(h100(), {64, 64, 64}, tile, {tile.family, tile.name, 0, 1})));
}

// SwiGLU in tiles of 192 columns cannot leave by the copy engine.
TEST(S8GemmHeuristic, SlowEpiloguesCount) {
  const TileConfig tile = config_of(h100(), S8GemmFamily::kSm90a, "128x192x128");
  const S8GemmChoice choice{tile.family, tile.name, 8, 1};
  const S8GemmShape plain{4608, 24576, 4608};
  S8GemmShape gated = plain;
  gated.epilogue = GemmEpilogue::kSwiglu;
  EXPECT_GT(predicted_time(h100(), gated, tile, choice).products_ms,
            predicted_time(h100(), plain, tile, choice).products_ms);
}

}  // namespace
}  // namespace intaglio::cuda
