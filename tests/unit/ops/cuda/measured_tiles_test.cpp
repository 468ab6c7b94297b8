// The choice of tiles against what was measured on a card (bench/results).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "gpus.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"
#include "support/source_folder.h"

namespace intaglio::cuda {
namespace {

// Medians of bench/results/<file>.json: shape -> tile -> the least over the ways it was run.
using Measured = std::map<std::tuple<int64_t, int64_t, int64_t>, std::map<std::string, double>>;

// `tile_of`: the tile that a candidate's name says, empty for others.
Measured read_measured(const std::string& file,
                       const std::function<std::string(const std::string&)>& tile_of) {
  std::ifstream stream(test::source_path("bench/results/") + file + ".json");
  Measured measured;
  const nlohmann::json all = nlohmann::json::parse(stream);
  for (const auto& r : all["results"]) {
    const std::string candidate = r["candidate"], shape = r["shape"];
    const std::string tile = tile_of(candidate);
    const bool gated =
        candidate.find("swiglu") != std::string::npos || shape.find("swiglu") != std::string::npos;
    if (tile.empty() || gated || r["m"].get<int64_t>() < 1024) continue;
    const double ms = r["median_ms"];
    double& best = measured[{r["m"], r["n"], r["k"]}].try_emplace(tile, ms).first->second;
    best = std::min(best, ms);
  }
  return measured;
}

Measured wgmma_measured() {
  return read_measured("h100_sm90a_s8_gemm", [](const std::string& name) {
    return name.starts_with("sm90a ") ? name.substr(6, name.find(' ', 6) - 6) : std::string();
  });
}

Measured mma_measured() {
  return read_measured("h100_sm80_s8_gemm",
                       [](const std::string& name) { return name.substr(0, name.find('/')); });
}

std::vector<TileConfig> measured_configs(S8GemmFamily family) {
  std::vector<TileConfig> configs;
  for (const TileConfig& config : tile_configs(h100()))
    if (config.measured && config.family == family) configs.push_back(config);
  return configs;
}

// What is chosen without tuning is within `margin` of the fastest tile that was measured.
void expect_near_the_best(const Measured& measured, S8GemmFamily family, double margin) {
  ASSERT_GE(measured.size(), 8u);
  const std::vector<TileConfig> configs = measured_configs(family);
  for (const auto& [shape, tiles] : measured) {
    const auto [m, n, k] = shape;
    const S8GemmChoice choice = heuristic_s8_gemm(h100(), {m, n, k}, configs);
    ASSERT_TRUE(tiles.contains(choice.config)) << choice.config << " was not measured at m " << m;
    auto best = tiles.begin();
    for (auto it = tiles.begin(); it != tiles.end(); ++it)
      if (it->second < best->second) best = it;
    EXPECT_LE(tiles.at(choice.config), (1 + margin) * best->second)
        << choice.config << " at m " << m << ", n " << n << ", k " << k << ", best " << best->first;
  }
}

// The efficiency with which the model's times are, in the geometric mean, those measured.
double fitted_efficiency(TileConfig config, const Measured& measured) {
  const auto log_ratio = [&](double efficiency) {
    config.efficiency = efficiency;
    double sum = 0;
    int count = 0;
    for (const auto& [shape, tiles] : measured) {
      const auto found = tiles.find(config.name);
      if (found == tiles.end()) continue;
      const auto [m, n, k] = shape;
      const S8GemmShape s{m, n, k};
      const S8GemmChoice choice{config.family, config.name, band_for(h100(), s, config), 1};
      sum += std::log(predicted_ms(h100(), s, config, choice) / found->second);
      ++count;
    }
    return sum / count;
  };
  double low = 0.01, high = 1.0;
  for (int i = 0; i < 40; ++i) (log_ratio((low + high) / 2) > 0 ? low : high) = (low + high) / 2;
  return low;
}

void expect_fitted(const Measured& measured, S8GemmFamily family) {
  for (const TileConfig& config : measured_configs(family))
    EXPECT_NEAR(config.efficiency, fitted_efficiency(config, measured), 0.002) << config.name;
}

TEST(MeasuredTiles, ChoicesAreNearTheFastest) {
  expect_near_the_best(wgmma_measured(), S8GemmFamily::kSm90a, 0.05);
  expect_near_the_best(mma_measured(), S8GemmFamily::kSm80, 0.05);
}

// To fit anew after a measurement: put the numbers of this test's failures into
// src/ops/cuda/tuning/data/sm90.json.
TEST(MeasuredTiles, EfficienciesAreFitted) {
  expect_fitted(wgmma_measured(), S8GemmFamily::kSm90a);
  expect_fitted(mma_measured(), S8GemmFamily::kSm80);
}

}  // namespace
}  // namespace intaglio::cuda
