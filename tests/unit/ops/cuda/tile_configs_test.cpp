#include "ops/cuda/tuning/tile_configs.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "gpus.h"
#include "ops/cuda/tuning/tuning_data.h"

namespace intaglio::cuda {
namespace {

std::string text_of(std::string_view name) {
  for (const EmbeddedFile& file : tuning_data_files()) {
    if (file.name == name) return std::string(file.text);
  }
  return {};
}

TEST(TileConfigs, EveryArchitectureIsCompiledIn) {
  for (const int capability : {75, 80, 86, 89, 90, 120}) {
    const std::string name = fmt::format("sm{}", capability);
    const Expected<GpuArch> arch = parse_gpu_arch(text_of(name + ".json"), name);
    ASSERT_TRUE(arch) << arch.error().message;
    EXPECT_EQ(arch->name, name);
    EXPECT_EQ(arch->compute_capability, capability);
    ASSERT_NE(gpu_arch(capability), nullptr);
    EXPECT_EQ(gpu_arch(capability)->name, name);
  }
}

// Blackwell of the data centre has no wgmma: its data are Ampere's, not Hopper's.
TEST(TileConfigs, UnknownCapabilitiesUseAGenerationTheyCanRun) {
  EXPECT_EQ(gpu_arch(70), nullptr);
  EXPECT_EQ(gpu_arch(0), nullptr);
  EXPECT_EQ(gpu_arch(87)->name, "sm86");
  EXPECT_EQ(gpu_arch(100)->name, "sm80");
  EXPECT_EQ(gpu_arch(103)->name, "sm80");
  EXPECT_EQ(gpu_arch(121)->name, "sm120");
}

// What the trace says of a choice; a tile that the card has no data of has no stages.
TEST(TileConfigs, AChoiceIsDescribedWithItsStages) {
  const CudaDevice device = h100();
  EXPECT_EQ(describe({S8GemmFamily::kSm90a, "128x256x128", 4, 2}, device),
            "sm90a_s8_gemm 128x256x128, 4 stages, band 4, split 2");
  EXPECT_EQ(describe({S8GemmFamily::kSm80, "another", 8, 1}, device),
            "sm80_s8_gemm another, band 8, split 1");
}

TEST(TileConfigs, AreConsistent) {
  for (const int capability : {75, 80, 86, 89, 90, 120}) {
    const GpuArch& arch = *gpu_arch(capability);
    std::set<std::pair<S8GemmFamily, std::string>> names;
    for (const TileConfig& c : arch.configs) {
      const std::string where = arch.name + " " + c.name;
      EXPECT_TRUE(names.insert({c.family, c.name}).second) << where << " is there twice";
      EXPECT_LE(c.smem_bytes, arch.shared_bytes_per_block) << where;
      EXPECT_EQ(c.tile_m % c.warp_m, 0) << where;
      EXPECT_EQ(c.tile_n % c.warp_n, 0) << where;
      if (c.family == S8GemmFamily::kSm80) {
        EXPECT_EQ(c.smem_bytes, c.stages * (c.tile_m + c.tile_n) * c.tile_k) << where;
      }
      EXPECT_TRUE(c.family != S8GemmFamily::kSm90a || capability == 90) << where;
    }
  }
}

// A number marked "modelled" must be the model's: typed figures would look like measurements.
TEST(TileConfigs, ModelledEfficienciesAreTheModels) {
  for (const int capability : {75, 80, 86, 89, 90, 120}) {
    const GpuArch& arch = *gpu_arch(capability);
    for (const TileConfig& c : arch.configs) {
      if (c.measured) continue;
      EXPECT_NEAR(c.efficiency, modelled_efficiency(arch, c), 0.0006) << arch.name << " " << c.name;
    }
  }
}

TEST(TileConfigs, PeakOfTheCardIsThePublishedOne) {
  const auto tops = [](int capability) {
    const GpuArch& a = *gpu_arch(capability);
    const double macs = std::max(a.mma_macs_per_clock, a.wgmma_macs_per_clock);
    return 2e-3 * macs * a.clock_ghz * a.multiprocessors;
  };
  EXPECT_NEAR(tops(75), 130, 1);
  EXPECT_NEAR(tops(80), 624, 1);
  EXPECT_NEAR(tops(86), 284, 1);
  EXPECT_NEAR(tops(89), 660.6, 1);
  EXPECT_NEAR(tops(90), 1979, 1);
  EXPECT_NEAR(tops(120), 838, 1);
}

TEST(TileConfigs, BrokenDataNameTheField) {
  const std::string good = text_of("sm86.json");
  const auto message = [&](const nlohmann::json& json) {
    const Expected<GpuArch> arch = parse_gpu_arch(json.dump(), "file.json");
    return arch ? std::string("parsed") : arch.error().message;
  };
  nlohmann::json json = nlohmann::json::parse(good);
  EXPECT_EQ(message(json), "parsed");
  for (const char* key : {"mma_macs_per_clock", "card", "configs", "shared_bytes_per_block"}) {
    nlohmann::json without = json;
    without.erase(key);
    EXPECT_NE(message(without).find(key), std::string::npos) << message(without);
  }
  for (const char* key : {"family", "name", "tile", "warp", "stages", "efficiency", "mark"}) {
    nlohmann::json without = json;
    without["configs"][3].erase(key);
    EXPECT_NE(message(without).find("file.json: configs[3]: "), std::string::npos);
    EXPECT_NE(message(without).find(key), std::string::npos) << message(without);
  }
  json["configs"][0]["efficiency"] = 1.5;
  EXPECT_NE(message(json).find("efficiency"), std::string::npos);
}

TEST(TileConfigs, DamagedDataNeverCrash) {
  const std::string good = text_of("sm86.json");
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::string bad = good;
    for (int edit = 0; edit < 3; ++edit) {
      bad[random() % bad.size()] = static_cast<char>(random());
    }
    if (i % 3 == 0) bad.resize(random() % bad.size());
    const Expected<GpuArch> arch = parse_gpu_arch(bad, "bad");
    EXPECT_TRUE(!arch || arch->mma_macs_per_clock > 0);
  }
}

}  // namespace
}  // namespace intaglio::cuda
