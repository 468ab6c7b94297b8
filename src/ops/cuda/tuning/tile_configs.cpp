#include "ops/cuda/tuning/tile_configs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/log.h"
#include "io/json_config.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "ops/cuda/tuning/tuning_data.h"

namespace intaglio::cuda {
namespace {

constexpr int kMaxTile = 1024;
constexpr int kMaxSharedBytes = 1 << 20;
constexpr double kMaxRate = 1e6;

Expected<double> positive(const JsonConfig& json, std::string_view key, double max) {
  INTAGLIO_ASSIGN(const double value, json.number(key));
  if (value > 0 && value <= max) return value;
  return make_error(ErrorCode::kBadFormat, "{}: expected a number in (0, {}], found {}", key, max,
                    value);
}

Status small_integer(const JsonConfig& json, std::string_view key, int max, int& value) {
  INTAGLIO_ASSIGN(const int64_t number, json.integer(key, 1, max));
  value = static_cast<int>(number);
  return {};
}

Expected<std::vector<int64_t>> sizes(const JsonConfig& json, std::string_view key, size_t count) {
  INTAGLIO_ASSIGN(std::vector<int64_t> values, json.integers(key, 1, kMaxTile, count));
  if (values.size() == count) return values;
  return make_error(ErrorCode::kBadFormat, "{}: expected {} integers, found {}", key, count,
                    values.size());
}

Expected<TileConfig> parse_config(const JsonConfig& json) {
  TileConfig config;
  INTAGLIO_ASSIGN(const std::string family, json.string_or("family", ""));
  const auto known = s8_gemm_family_from_name(family);
  if (!known) return make_error(ErrorCode::kBadFormat, "family: unknown name \"{}\"", family);
  config.family = *known;
  INTAGLIO_ASSIGN(config.name, json.string_or("name", ""));
  if (config.name.empty()) return make_error(ErrorCode::kBadFormat, "name: missing");
  INTAGLIO_ASSIGN(const std::vector<int64_t> tile, sizes(json, "tile", 3));
  config.tile_m = static_cast<int>(tile[0]);
  config.tile_n = static_cast<int>(tile[1]);
  config.tile_k = static_cast<int>(tile[2]);
  INTAGLIO_ASSIGN(const std::vector<int64_t> warp, sizes(json, "warp", 2));
  config.warp_m = static_cast<int>(warp[0]);
  config.warp_n = static_cast<int>(warp[1]);
  INTAGLIO_TRY(small_integer(json, "stages", 64, config.stages));
  INTAGLIO_TRY(small_integer(json, "smem_bytes", kMaxSharedBytes, config.smem_bytes));
  INTAGLIO_TRY(small_integer(json, "cluster", 16, config.cluster));
  INTAGLIO_TRY(small_integer(json, "blocks", 32, config.blocks));
  INTAGLIO_ASSIGN(config.any_rows, json.boolean_or("any_rows", false));
  INTAGLIO_ASSIGN(config.efficiency, positive(json, "efficiency", 1.0));
  INTAGLIO_ASSIGN(const std::string mark, json.string_or("mark", ""));
  if (mark != "measured" && mark != "modelled") {
    return make_error(ErrorCode::kBadFormat,
                      "mark: expected \"measured\" or \"modelled\", found \"{}\"", mark);
  }
  config.measured = mark == "measured";
  return config;
}

Status parse_rates(const JsonConfig& json, GpuArch& arch) {
  INTAGLIO_ASSIGN(arch.name, json.string_or("arch", ""));
  INTAGLIO_TRY(small_integer(json, "compute_capability", 999, arch.compute_capability));
  INTAGLIO_ASSIGN(arch.mma_macs_per_clock, positive(json, "mma_macs_per_clock", kMaxRate));
  INTAGLIO_ASSIGN(arch.wgmma_macs_per_clock, json.number_or("wgmma_macs_per_clock", 0.0));
  INTAGLIO_ASSIGN(arch.shared_bytes_per_clock, positive(json, "shared_bytes_per_clock", kMaxRate));
  INTAGLIO_ASSIGN(arch.l2_bytes_per_clock, positive(json, "l2_bytes_per_clock", kMaxRate));
  INTAGLIO_TRY(
      small_integer(json, "shared_bytes_per_block", kMaxSharedBytes, arch.shared_bytes_per_block));
  INTAGLIO_ASSIGN(const JsonConfig card, json.object("card"));
  INTAGLIO_ASSIGN(arch.card, card.string_or("name", ""));
  INTAGLIO_TRY(small_integer(card, "multiprocessors", 4096, arch.multiprocessors));
  INTAGLIO_ASSIGN(arch.clock_ghz, positive(card, "clock_ghz", 100.0));
  INTAGLIO_ASSIGN(arch.memory_gb_per_s, positive(card, "memory_gb_per_s", kMaxRate));
  INTAGLIO_ASSIGN(arch.l2_bytes, card.integer("l2_bytes", 1, int64_t{1} << 40));
  return {};
}

std::vector<GpuArch> load_all() {
  std::vector<GpuArch> all;
  for (const EmbeddedFile& file : tuning_data_files()) {
    if (!file.name.starts_with("sm")) continue;
    Expected<GpuArch> arch = parse_gpu_arch(file.text, std::string(file.name));
    if (arch) {
      all.push_back(std::move(*arch));
    } else {  // a broken file of ours: the tests fail on it
      log(LogLevel::kError, "{}", arch.error().message);
    }
  }
  return all;
}

// Whose data serve a compute capability. Instructions, not numbers, decide: data-centre Blackwell
// has no wgmma, so it is served like Ampere.
int serving_capability(int capability) {
  if (capability >= 120) return 120;
  if (capability >= 100) return 80;
  if (capability >= 90) return 90;
  if (capability >= 89) return 89;
  if (capability >= 86) return 86;
  if (capability >= 80) return 80;
  return capability >= 75 ? 75 : 0;
}

// A barrier a k tile costs about the latency of a shared-memory load and the first mma after it.
constexpr double kBarrierClocks = 40.0;
// What remains: addresses and copies take issue slots, registers conflict. A guess until measured.
constexpr double kRest = 0.95;
// A scheduler with one warp has nothing to issue while that warp waits for its fragments. A guess
// until measured.
constexpr double kLoneWarp = 0.93;
constexpr int kSchedulers = 4;
// Rows at any address are copied byte by byte. A guess until measured.
constexpr double kByteCopies = 0.1;
constexpr int kBlockReserve = 1024;  // shared memory the system keeps for each resident block

// Products are as fast as weights arrive. More rows read more activations through L1 for each byte
// of weights.
double small_m_share(int rows) { return rows <= 16 ? 0.8 : rows <= 32 ? 0.7 : 0.6; }

}  // namespace

Expected<GpuArch> parse_gpu_arch(std::string_view text, const std::string& name) {
  const auto located = [&](const Error& error, const std::string& where) {
    return make_error(error.code, "{}: {}{}", name, where, error.message);
  };
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::parse(text, name));
  GpuArch arch;
  if (const Status rates = parse_rates(json, arch); !rates) return located(rates.error(), "");
  if (!json.json().contains("configs") || !json.json().at("configs").is_array()) {
    return make_error(ErrorCode::kBadFormat, "{}: configs: expected an array", name);
  }
  for (const nlohmann::json& entry : json.json().at("configs")) {
    const std::string where = fmt::format("configs[{}]: ", arch.configs.size());
    const Expected<JsonConfig> object = JsonConfig::parse(entry.dump(), "entry");
    if (!object) return located(object.error(), where);
    Expected<TileConfig> config = parse_config(*object);
    if (!config) return located(config.error(), where);
    arch.configs.push_back(std::move(*config));
  }
  return arch;
}

const GpuArch* gpu_arch(int compute_capability) {
  static const std::vector<GpuArch> all = load_all();
  const int serving = serving_capability(compute_capability);
  const auto found = std::find_if(all.begin(), all.end(), [&](const GpuArch& arch) {
    return arch.compute_capability == serving;
  });
  return found == all.end() ? nullptr : &*found;
}

std::span<const TileConfig> tile_configs(const CudaDevice& device) {
  const GpuArch* arch = gpu_arch(device.compute_capability);
  if (arch == nullptr) return {};
  return arch->configs;
}

std::string describe(const S8GemmChoice& choice, const CudaDevice& device) {
  std::string stages;
  for (const TileConfig& config : tile_configs(device)) {
    if (config.family == choice.family && config.name == choice.config)
      stages = fmt::format(", {} stages", config.stages);
  }
  return fmt::format("{} {}{}, band {}, split {}", s8_gemm_family_name(choice.family),
                     choice.config, stages, choice.band, choice.split_k);
}

int resident_blocks(const TileConfig& c, int shared_bytes_per_block) {
  // A multiprocessor has what one block may take, and that block's reserve.
  const int fits = (shared_bytes_per_block + kBlockReserve) / (c.smem_bytes + kBlockReserve);
  return std::max(1, std::min(c.blocks, fits));
}

TileClocks tile_clocks(const GpuArch& arch, const TileConfig& c) {
  const bool wgmma = c.family == S8GemmFamily::kSm90a;
  const double macs = wgmma ? arch.wgmma_macs_per_clock : arch.mma_macs_per_clock;
  TileClocks clocks;
  clocks.products = 1.0 * c.tile_m * c.tile_n * c.tile_k / macs;
  // Each warp reads its rows of A and of W once; wgmma reads both operands the same way, once a
  // warpgroup.
  const double warps = 1.0 * (c.tile_m / c.warp_m) * (c.tile_n / c.warp_n);
  const double reads = warps * (c.warp_m + c.warp_n) * c.tile_k;
  const double writes = 1.0 * (c.tile_m + c.tile_n) * c.tile_k;
  clocks.shared_memory = (reads + writes) / arch.shared_bytes_per_clock;
  // Another resident block computes meanwhile. The warpgroups of the Hopper kernel wait for data
  // only, never for each other.
  clocks.barrier = wgmma ? 0.0 : kBarrierClocks / resident_blocks(c, arch.shared_bytes_per_block);
  return clocks;
}

double modelled_efficiency(const GpuArch& arch, const TileConfig& config) {
  if (config.family == S8GemmFamily::kSmallM) return small_m_share(config.tile_m);
  const TileClocks clocks = tile_clocks(arch, config);
  if (clocks.products <= 0) return 0;
  const double shared =
      clocks.products / (std::max(clocks.products, clocks.shared_memory) + clocks.barrier);
  const int warps = config.tile_m / config.warp_m * (config.tile_n / config.warp_n);
  const bool lone = config.family != S8GemmFamily::kSm90a &&
                    resident_blocks(config, arch.shared_bytes_per_block) * warps < 2 * kSchedulers;
  const bool by_bytes = config.family == S8GemmFamily::kSm80 && config.any_rows;
  return kRest * (lone ? kLoneWarp : 1.0) * (by_bytes ? kByteCopies : 1.0) * shared;
}

}  // namespace intaglio::cuda
