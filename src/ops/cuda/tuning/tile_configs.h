// The tiles that int8 GEMM kernels come in, and what a multiprocessor of each generation does a
// clock. Read from data/<arch>.json.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio::cuda {

struct TileConfig {
  S8GemmFamily family = S8GemmFamily::kSm80;
  std::string name;  // "sm80_128x256x64_4", the name in the family's launcher
  int tile_m = 0, tile_n = 0, tile_k = 0;
  int warp_m = 0, warp_n = 0;  // what a warp (wgmma: a warpgroup) computes
  int stages = 0;
  int smem_bytes = 0;     // of one block
  int cluster = 1;        // blocks along M that share a tile of W
  int blocks = 1;         // that the registers of a multiprocessor hold
  bool any_rows = false;  // takes rows of a and w that do not start at multiples of 16 bytes
  // Share of the instructions' peak that the main loop keeps up; kSmallM: share of the memory's
  // rate.
  double efficiency = 0.0;
  bool measured = false;  // else modelled by modelled_efficiency
};

// One generation of GPUs. Figures a clock hold for one multiprocessor.
struct GpuArch {
  std::string name;  // "sm86"
  int compute_capability = 0;
  double mma_macs_per_clock = 0;    // int8 products by mma.sync
  double wgmma_macs_per_clock = 0;  // by wgmma; 0 without
  double shared_bytes_per_clock = 0;
  double l2_bytes_per_clock = 0;  // when all multiprocessors read at once
  int shared_bytes_per_block = 0;
  // A card to scale from: smaller cards of a generation have about proportionally less memory
  // bandwidth.
  std::string card;
  int multiprocessors = 0;
  double clock_ghz = 0;
  double memory_gb_per_s = 0;
  int64_t l2_bytes = 0;
  std::vector<TileConfig> configs;
};

// Errors: kBadFormat naming `name`, the field, what was found and expected.
Expected<GpuArch> parse_gpu_arch(std::string_view text, const std::string& name);

// The compiled-in data that serves a compute capability (10 * major + minor): its own, else that of
// the nearest older generation whose instructions it runs. nullptr below 7.5.
const GpuArch* gpu_arch(int compute_capability);

// All configs for a device; empty for a device without data.
std::span<const TileConfig> tile_configs(const CudaDevice& device);

// "sm90a_s8_gemm 128x256x128, 4 stages, band 8, split 1"
std::string describe(const S8GemmChoice& choice, const CudaDevice& device);

// Blocks of `config` on one multiprocessor: as many as registers and shared memory hold, at least
// one.
int resident_blocks(const TileConfig& config, int shared_bytes_per_block);

// What the main loop should reach, from instruction rate, shared-memory bytes and barriers; see
// tile_configs.cpp. Depends on everything in `config` but efficiency and measured.
double modelled_efficiency(const GpuArch& arch, const TileConfig& config);

// Clocks of one k tile of one block, for the model and its page.
struct TileClocks {
  double products = 0;       // of the tensor cores
  double shared_memory = 0;  // reads by ldmatrix or wgmma, and writes by the copies
  double barrier = 0;        // nobody computes
};
TileClocks tile_clocks(const GpuArch& arch, const TileConfig& config);

}  // namespace intaglio::cuda
