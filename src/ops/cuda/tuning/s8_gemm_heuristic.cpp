#include "ops/cuda/tuning/s8_gemm_heuristic.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace intaglio::cuda {
namespace {

constexpr int64_t kSmallMRows = 64;
constexpr int kChunkBytes =
    16;  // of cp.async and of the copy engine: rows must start at its multiples
constexpr double kL2Usable = 0.75;  // the rest holds outputs and the other tenants' lines
constexpr double kMemoryShare =
    0.75;  // of the published bandwidth: loads of a tile kernel pause at its barriers
constexpr double kMemoryLatencyMs = 0.0007;     // from a load to its data, on a busy card
constexpr double kSmallMBytesInFlight = 32768;  // of a block: 8 warps, 4 KB each
constexpr double kOverlapLoss = 0.1;            // of the resources that are not the slowest
constexpr double kLaunchMs = 0.003;  // launch, and the first loads before anything can be computed
constexpr double kReduceLaunchMs = 0.002;
constexpr double kOutputsPerClock =
    16;  // conversion, scales, rounding and store of one output, all schedulers together
constexpr double kPlainStoreCost = 4;  // scattered stores instead of whole rows by the copy engine
constexpr double kBlockL2BytesPerClock = 64;  // one multiprocessor alone cannot draw more
constexpr int kMinTilesOfK = 8;               // below that a piece of K is all pipeline fill
constexpr int64_t kSplitWaves = 3;            // more waves of pieces even out nothing

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Where a family is the one to use. mma.sync runs from sm_80 up; wgmma for int8 is Hopper's alone.
bool family_runs(S8GemmFamily family, int capability) {
  switch (family) {
    case S8GemmFamily::kSm75:
      return capability >= 75 && capability < 80;
    case S8GemmFamily::kSm80:
    case S8GemmFamily::kSmallM:
      return capability >= 80;
    case S8GemmFamily::kSm90a:
      return capability == 90;
  }
  return false;
}

int shared_limit(const CudaDevice& device, const GpuArch& arch) {
  return device.shared_bytes_per_block > 0
             ? std::min(device.shared_bytes_per_block, arch.shared_bytes_per_block)
             : arch.shared_bytes_per_block;
}

int resident(const CudaDevice& device, const GpuArch& arch, const TileConfig& c) {
  return resident_blocks(c, shared_limit(device, arch));
}

// How a product falls into tiles and onto the multiprocessors. The raster's bands are rows of
// clusters on Hopper, columns of tiles elsewhere.
struct Tiling {
  int64_t rows, columns;                   // of tiles; rows: of clusters
  int64_t blocks;                          // tiles of all pieces of K
  int64_t k_piece;                         // k of one piece, padded to k tiles
  int64_t processors;                      // that can take part: whole clusters only
  int64_t in_flight;                       // rows x columns of one wave
  int64_t lines;                           // that bands consist of: rows or columns
  int64_t line_size, cross_size;           // m or n of a line, and of what crosses it
  double banded_elements, other_elements;  // rows of the banded operand, and of the other
};

Tiling tiling_of(const CudaDevice& device, const GpuArch& arch, const S8GemmShape& shape,
                 const TileConfig& c, int32_t split_k) {
  Tiling t{};
  const int64_t row_height = int64_t{c.tile_m} * c.cluster;
  t.rows = ceil_div(shape.m, row_height);
  t.columns = ceil_div(shape.n, c.tile_n);
  t.blocks = t.rows * t.columns * c.cluster * split_k;
  t.k_piece = ceil_div(ceil_div(shape.k, c.tile_k), split_k) * c.tile_k;
  t.processors = std::max<int64_t>(1, device.multiprocessors / c.cluster) * c.cluster;
  t.in_flight =
      std::max<int64_t>(1, t.processors / c.cluster * resident(device, arch, c) / split_k);
  const bool by_rows = c.family == S8GemmFamily::kSm90a;
  t.lines = by_rows ? t.rows : t.columns;
  t.line_size = by_rows ? row_height : c.tile_n;
  t.cross_size = by_rows ? c.tile_n : row_height;
  t.banded_elements = static_cast<double>(by_rows ? shape.m : shape.n);
  t.other_elements = static_cast<double>(by_rows ? shape.n : shape.m);
  return t;
}

double element_bytes(DType out) { return out == DType::kI32 || out == DType::kF32 ? 4.0 : 2.0; }

double output_bytes(const S8GemmShape& s) {
  const double columns =
      static_cast<double>(s.n) / static_cast<double>(columns_per_output(s.epilogue));
  return static_cast<double>(s.m) * columns * element_bytes(s.out_type);
}

double l2_bytes(const CudaDevice& device, const GpuArch& arch) {
  return static_cast<double>(device.l2_bytes > 0 ? device.l2_bytes : arch.l2_bytes);
}

// Bytes of A and W that come from memory.
double operand_bytes(const S8GemmShape& s, const Tiling& t, int32_t band, double usable) {
  const auto k = static_cast<double>(s.k);
  const double banded = t.banded_elements * k, other = t.other_elements * k;
  const int64_t height = std::clamp<int64_t>(band, 1, t.lines);
  const int64_t crossing = t.rows * t.columns / t.lines;
  const int64_t width = std::min(crossing, ceil_div(t.in_flight, height));
  const double band_bytes = static_cast<double>(height * t.line_size) * k;
  const double wave_bytes = static_cast<double>(width * t.cross_size) * k;
  // Nothing survives from one wave to the next: each fetches its own lines and what crosses them.
  const double waves = static_cast<double>(ceil_div(t.rows * t.columns, t.in_flight));
  double bytes = std::max(waves * (band_bytes + wave_bytes), banded + other);
  // The band's lines stay: the banded operand comes once, the other once a band; or once if there
  // is room for all of it.
  if (band_bytes + wave_bytes <= usable) {
    const bool other_stays = other + band_bytes <= usable;
    const auto bands = static_cast<double>(ceil_div(t.lines, height));
    bytes = std::min(bytes, banded + other * (other_stays ? 1.0 : bands));
  }
  return bytes;
}

double memory_gb_per_s(const CudaDevice& device, const GpuArch& arch) {
  return arch.memory_gb_per_s * device.multiprocessors / arch.multiprocessors;
}

double ms_of_bytes(double bytes, double gb_per_s) { return bytes / gb_per_s * 1e-6; }

// Partial sums: written as int32 by the pieces, read by the reduction. They stay in L2 if they fit.
double split_ms(const CudaDevice& device, const GpuArch& arch, const S8GemmShape& s,
                int32_t split_k) {
  if (split_k <= 1) return 0;
  const double bytes = 4.0 * split_k * static_cast<double>(s.m) * static_cast<double>(s.n);
  const double l2_gb_per_s = arch.l2_bytes_per_clock * arch.clock_ghz * device.multiprocessors;
  const bool in_l2 = bytes <= kL2Usable * l2_bytes(device, arch);
  const double rate = in_l2 ? l2_gb_per_s : kMemoryShare * memory_gb_per_s(device, arch);
  return 2.0 * ms_of_bytes(bytes, rate) + kReduceLaunchMs;
}

// What the memory gives when `blocks` blocks, in waves of `slots`, each have `in_flight` bytes
// under way: bytes a latency, up to the bandwidth. Few blocks, or a thin last wave, cannot keep it
// busy.
double memory_rate(double bandwidth, int64_t blocks, int64_t slots, double in_flight) {
  const double loading = static_cast<double>(blocks) / static_cast<double>(ceil_div(blocks, slots));
  return std::min(bandwidth, loading * in_flight / kMemoryLatencyMs * 1e-6);
}

// The weights pass through registers once; nothing else counts.
PredictedTime small_m_time(const CudaDevice& device, const GpuArch& arch, const S8GemmShape& s,
                           const TileConfig& c, int32_t split_k) {
  const Tiling t = tiling_of(device, arch, s, c, split_k);
  const int64_t slots = t.processors * resident(device, arch, c);
  const double rate = memory_rate(c.efficiency * memory_gb_per_s(device, arch), t.blocks, slots,
                                  kSmallMBytesInFlight);
  PredictedTime time;
  time.memory_ms = ms_of_bytes(static_cast<double>(s.n) * static_cast<double>(s.k), rate);
  time.fixed_ms = kLaunchMs + split_ms(device, arch, s, split_k);
  return time;
}

double epilogue_clocks(const S8GemmShape& s, const TileConfig& c, int32_t split_k, int resident) {
  double clocks = 1.0 * c.tile_m * c.tile_n / kOutputsPerClock;
  // The copy engine needs 16-bit outputs in rows of 16 bytes; halves of tiles it cannot cut fall
  // back as well.
  const bool plain = split_k > 1 || element_bytes(s.out_type) > 2 || s.n % 8 != 0 ||
                     (is_gated(s.epilogue) && c.tile_n % 128 != 0);
  if (c.family == S8GemmFamily::kSm90a && plain) clocks *= kPlainStoreCost;
  // Another block, or the other warpgroup, computes meanwhile.
  return c.family == S8GemmFamily::kSm90a || resident > 1 ? clocks / 2 : clocks;
}

PredictedTime tile_time(const CudaDevice& device, const GpuArch& arch, const S8GemmShape& s,
                        const TileConfig& c, const S8GemmChoice& choice) {
  const Tiling t = tiling_of(device, arch, s, c, choice.split_k);
  const bool wgmma = c.family == S8GemmFamily::kSm90a;
  const double macs = (wgmma ? arch.wgmma_macs_per_clock : arch.mma_macs_per_clock) * c.efficiency;
  const auto tiles = static_cast<double>(ceil_div(t.blocks, t.processors));  // of the busiest one
  const double clocks_per_ms = arch.clock_ghz * 1e6;
  const auto k_piece = static_cast<double>(t.k_piece);
  const double tile_clocks = c.tile_m * c.tile_n * k_piece / macs +
                             epilogue_clocks(s, c, choice.split_k, resident(device, arch, c));
  const double tile_bytes = (c.tile_m + static_cast<double>(c.tile_n) / c.cluster) * k_piece;
  const double l2_clocks = std::max(tile_bytes * static_cast<double>(t.blocks) /
                                        (arch.l2_bytes_per_clock * device.multiprocessors),
                                    tile_bytes * tiles / kBlockL2BytesPerClock);
  const double usable = kL2Usable * l2_bytes(device, arch);
  const double bytes = operand_bytes(s, t, choice.band, usable) + output_bytes(s);
  PredictedTime time;
  time.products_ms = tiles * tile_clocks / clocks_per_ms;
  time.l2_ms = l2_clocks / clocks_per_ms;
  const double in_flight = (c.stages - 1.0) * (c.tile_m + c.tile_n) * c.tile_k;
  const double rate = memory_rate(kMemoryShare * memory_gb_per_s(device, arch), t.blocks,
                                  t.processors * resident(device, arch, c), in_flight);
  time.memory_ms = ms_of_bytes(bytes, rate);
  time.fixed_ms = kLaunchMs + split_ms(device, arch, s, choice.split_k);
  return time;
}

// Split-K pays when the tiles leave multiprocessors idle, in the only wave or the last one; pieces
// must be long enough to fill the pipeline.
std::vector<int32_t> splits_for(const CudaDevice& device, const S8GemmShape& shape,
                                const TileConfig& c) {
  std::vector<int32_t> splits{1};
  const bool can_split = c.family != S8GemmFamily::kSm75;
  const int64_t tiles = ceil_div(shape.m, c.tile_m) * ceil_div(shape.n, c.tile_n);
  const int64_t k_tiles = ceil_div(shape.k, c.tile_k);
  for (const int32_t split : {2, 3, 4, 6, 8, 12, 16}) {
    const bool idle = tiles * (split - 1) < kSplitWaves * device.multiprocessors * c.blocks;
    if (can_split && idle && k_tiles >= int64_t{split} * kMinTilesOfK) splits.push_back(split);
  }
  return splits;
}

}  // namespace

const char* refuse_tile(const CudaDevice& device, const S8GemmShape& shape,
                        const TileConfig& config) {
  const GpuArch* arch = gpu_arch(device.compute_capability);
  if (arch == nullptr || device.multiprocessors < 1) return "no data about this device";
  if (shape.m < 1 || shape.n < 1 || shape.k < 1) return "m, n and k must be at least 1";
  if (!family_runs(config.family, device.compute_capability))
    return "its instructions are not the device's";
  if (config.smem_bytes > shared_limit(device, *arch)) return "too much shared memory for a block";
  if (shape.k % kChunkBytes != 0 && !config.any_rows)
    return "rows of a and w must start at multiples of 16 bytes";
  constexpr int64_t kMostBytes = 0xffffffff;
  if (config.family == S8GemmFamily::kSm80 && !config.any_rows &&
      std::max(shape.m, shape.n) * shape.k > kMostBytes)
    return "a or w spans 4 GiB or more";
  if (config.family == S8GemmFamily::kSmallM &&
      shape.m > std::min(kSmallMRows, int64_t{config.tile_m}))
    return "more rows than its tile";
  return nullptr;
}

double PredictedTime::total_ms() const {
  const double slowest = std::max({products_ms, l2_ms, memory_ms});
  return slowest + kOverlapLoss * (products_ms + l2_ms + memory_ms - slowest) + fixed_ms;
}

PredictedTime predicted_time(const CudaDevice& device, const S8GemmShape& shape,
                             const TileConfig& config, const S8GemmChoice& choice) {
  const GpuArch* arch = gpu_arch(device.compute_capability);
  if (refuse_tile(device, shape, config) != nullptr || choice.split_k < 1 || choice.band < 1) {
    PredictedTime never;
    never.fixed_ms = std::numeric_limits<double>::infinity();
    return never;
  }
  return config.family == S8GemmFamily::kSmallM
             ? small_m_time(device, *arch, shape, config, choice.split_k)
             : tile_time(device, *arch, shape, config, choice);
}

double predicted_ms(const CudaDevice& device, const S8GemmShape& shape, const TileConfig& config,
                    const S8GemmChoice& choice) {
  return predicted_time(device, shape, config, choice).total_ms();
}

int32_t band_for(const CudaDevice& device, const S8GemmShape& shape, const TileConfig& config) {
  const GpuArch* arch = gpu_arch(device.compute_capability);
  const bool raster = config.family != S8GemmFamily::kSmallM;
  if (!raster || arch == nullptr || device.multiprocessors < 1) return 1;
  const Tiling t = tiling_of(device, *arch, shape, config, 1);
  // A wave as square as it gets in bytes fetches the least.
  const double square =
      std::sqrt(static_cast<double>(t.in_flight * t.cross_size) / static_cast<double>(t.line_size));
  // As long as its lines stay in L2, a larger band reads the other operand fewer times.
  const double line_bytes = static_cast<double>(t.line_size) * static_cast<double>(shape.k);
  const double fits = kL2Usable / 2 * l2_bytes(device, *arch) / line_bytes;
  const auto lines = static_cast<double>(t.lines);
  const auto band =
      static_cast<int64_t>(std::clamp(std::max(std::round(square), std::floor(fits)), 1.0, lines));
  // Bands of equal size: a thin last one would fetch all of the other operand for little.
  return static_cast<int32_t>(ceil_div(t.lines, ceil_div(t.lines, band)));
}

std::vector<RankedChoice> rank_s8_gemm(const CudaDevice& device, const S8GemmShape& shape,
                                       std::span<const TileConfig> configs) {
  std::vector<RankedChoice> ranked;
  for (const TileConfig& config : configs) {
    if (refuse_tile(device, shape, config) != nullptr) continue;
    const int32_t best_band = band_for(device, shape, config);
    const auto lines =
        static_cast<int32_t>(config.family == S8GemmFamily::kSm90a
                                 ? ceil_div(shape.m, int64_t{config.tile_m} * config.cluster)
                                 : ceil_div(shape.n, config.tile_n));
    std::vector<int32_t> bands{best_band};
    for (const int32_t band : {best_band / 2, std::min(2 * best_band, lines)}) {
      const bool small_m = config.family == S8GemmFamily::kSmallM;  // it has no raster
      if (!small_m && band >= 1 && band != best_band) bands.push_back(band);
    }
    for (const int32_t split : splits_for(device, shape, config)) {
      for (const int32_t band : bands) {
        const S8GemmChoice choice{config.family, config.name, band, split};
        ranked.push_back({choice, predicted_ms(device, shape, config, choice)});
      }
    }
  }
  // Stable: among equals the order of the data files decides, and a config's own band comes before
  // its neighbours.
  std::stable_sort(ranked.begin(), ranked.end(), [](const RankedChoice& a, const RankedChoice& b) {
    return a.predicted_ms < b.predicted_ms;
  });
  return ranked;
}

S8GemmChoice heuristic_s8_gemm(const CudaDevice& device, const S8GemmShape& shape,
                               std::span<const TileConfig> configs) {
  const std::vector<RankedChoice> ranked = rank_s8_gemm(device, shape, configs);
  if (!ranked.empty()) return ranked.front().choice;
  S8GemmChoice none;
  none.config.clear();
  return none;
}

}  // namespace intaglio::cuda
