// docs/modelled-3090.md is made here, from the model itself, so that no figure of it is typed:
//   INTAGLIO_WRITE_DOCS=1 build/test/bin/intaglio_tests --gtest_filter='Modelled3090.*'
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "gpus.h"
#include "io/json_config.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"

namespace intaglio::cuda {
namespace {

constexpr int kPublishedTops = 284;  // dense, GA102 white paper

struct NamedShape {
  const char* name;
  S8GemmShape shape;
};

const std::vector<NamedShape> kShapes{
    {"qkv", {4608, 13824, 4608}},
    {"out", {4608, 4608, 4608}},
    {"w1, w3 + SwiGLU", {4608, 24576, 4608, S8Fusion::kSwiglu}},
    {"w2", {4608, 4608, 12288}},
    {"text projection", {512, 4608, 53248}},
    {"qkv, 256 x 256 pixels", {384, 13824, 4608}},
    {"out, 256 x 256 pixels", {384, 4608, 4608}},
    {"16 rows", {16, 18432, 4608}},
};

double operations(const S8GemmShape& s) {
  return 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
}

double peak_tops(const GpuArch& arch) {
  return 2e-3 * arch.mma_macs_per_clock * arch.clock_ghz * arch.multiprocessors;
}

std::string rates(const GpuArch& arch) {
  return fmt::format(
      "| figure | value | from |\n| --- | --- | --- |\n"
      "| multiprocessors, clock | {}, {} GHz | published |\n"
      "| int8 products a clock and multiprocessor | {} | published {} TOPS / (2 x {} x "
      "{} "
      "GHz) |\n"
      "| memory, L2 | {} GB/s, {} MB | published |\n"
      "| shared memory a clock and multiprocessor | {} bytes, {} KB a block | published |\n"
      "| L2 a clock and multiprocessor, all reading | {} bytes ({:.1f} TB/s) | assumed |\n\n",
      arch.multiprocessors, arch.clock_ghz, arch.mma_macs_per_clock, kPublishedTops,
      arch.multiprocessors, arch.clock_ghz, arch.memory_gb_per_s, arch.l2_bytes >> 20,
      arch.shared_bytes_per_clock, arch.shared_bytes_per_block >> 10, arch.l2_bytes_per_clock,
      1e-3 * arch.l2_bytes_per_clock * arch.clock_ghz * arch.multiprocessors);
}

// What the main loop of each config reaches, and the L2 bytes it asks for while it does.
std::string tile_table(const GpuArch& arch) {
  std::string page =
      "| config | warp tile | stages | blocks | products | shared memory | barrier | efficiency | "
      "TOPS | L2 bytes a clock |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const TileConfig& c : arch.configs) {
    if (c.family != S8GemmFamily::kSm80 || c.any_rows) continue;
    const TileClocks clocks = tile_clocks(arch, c);
    const double efficiency = modelled_efficiency(arch, c);
    const double l2 = (c.tile_m + c.tile_n) * c.tile_k / clocks.products * efficiency;
    page += fmt::format(
        "| {} | {} x {} | {} | {} | {:.0f} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {:.1f} |\n",
        c.name, c.warp_m, c.warp_n, c.stages, resident_blocks(c, arch.shared_bytes_per_block),
        clocks.products, clocks.shared_memory, clocks.barrier, efficiency,
        efficiency * peak_tops(arch), l2);
  }
  return page + "\n";
}

std::string shape_table(const CudaDevice& device) {
  std::string page =
      "| linear | m x n x k | choice | products | L2 | memory | fixed | total | TOPS |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const NamedShape& named : kShapes) {
    const S8GemmShape& s = named.shape;
    const RankedChoice best = rank_s8_gemm(device, s, tile_configs(device)).front();
    PredictedTime time;
    for (const TileConfig& c : tile_configs(device)) {
      if (c.family == best.choice.family && c.name == best.choice.config)
        time = predicted_time(device, s, c, best.choice);
    }
    page += fmt::format(
        "| {} | {} x {} x {} | {} | {:.3f} | {:.3f} | {:.3f} | {:.3f} | {:.3f} ms | {:.0f} |\n",
        named.name, s.m, s.n, s.k,
        fmt::format("{}, band {}, split {}", best.choice.config, best.choice.band,
                    best.choice.split_k),
        time.products_ms, time.l2_ms, time.memory_ms, time.fixed_ms, best.predicted_ms,
        operations(s) / best.predicted_ms * 1e-9);
  }
  return page + "\n";
}

std::string config_table(const CudaDevice& device) {
  std::string page = "| config |";
  std::string line = "| --- |";
  const size_t kLarge = 4;
  for (size_t i = 0; i < kLarge; ++i) {
    page += fmt::format(" {} |", kShapes[i].name);
    line += " --- |";
  }
  page += "\n" + line + "\n";
  for (const TileConfig& c : tile_configs(device)) {
    if (c.family != S8GemmFamily::kSm80 || c.any_rows) continue;
    page += fmt::format("| {} |", c.name);
    for (size_t i = 0; i < kLarge; ++i) {
      const S8GemmShape& s = kShapes[i].shape;
      const S8GemmChoice choice{c.family, c.name, band_for(device, s, c), 1};
      const double ms = predicted_ms(device, s, c, choice);
      page += fmt::format(" {:.3f} ms, {:.0f} |", ms, operations(s) / ms * 1e-9);
    }
    page += "\n";
  }
  return page + "\n";
}

std::string make_page() {
  const CudaDevice device = rtx_3090();
  const GpuArch& arch = *gpu_arch(device.compute_capability);
  std::string page =
      "# INT8 GEMM on an RTX 3090: a model\n\n"
      "**Modelled, not measured.** No such card was at hand. Every figure below comes from the "
      "functions that choose kernels where nothing was "
      "tuned (`src/ops/cuda/tuning/tile_configs.cpp`, `s8_gemm_heuristic.cpp`) and is written by "
      "`tests/unit/ops/cuda/modelled_3090_test.cpp`, which fails when this page and the functions "
      "differ.\n\n"
      "## Rates\n";
  page += rates(arch);
  page +=
      "## The main loop of each tile\n"
      "Clocks of one k tile of one block. Products: tile / rate. Shared memory: every warp reads "
      "its rows of both operands once, the copies write the "
      "tile once, 128 bytes a clock. Barrier: 40 clocks a k tile, shared by the resident blocks. "
      "Efficiency: 0.95 x products / (the larger of products "
      "and shared memory + barrier), and 0.93 of that where a scheduler has only one warp. The "
      "last column is what the tile asks of the L2 at that "
      "speed; above the rate in the first table the L2 decides.\n\n";
  page += tile_table(arch);
  page +=
      "## Linears of Ideogram 4\n"
      "4608 rows: 1024 x 1024 pixels and 512 tokens of text. Milliseconds of each resource; the "
      "total is the slowest, a tenth of the others, and "
      "the fixed part (launches, sums of split K). Memory counts what a 6 MB L2 cannot hold from "
      "wave to wave.\n\n";
  page += shape_table(device);
  page += "The same linears by config, without split K: milliseconds and TOPS.\n\n";
  page += config_table(device);
  page +=
      "## What it does not know\n"
      "- The clock under load: 1.695 GHz is the published boost clock. Cards hold more or less, "
      "and INT8 at full rate may meet the power limit.\n"
      "- The L2 rate, the 40 clocks of a barrier, and the constants 0.95, 0.93 and 0.1 are "
      "assumptions. `intaglio tune` replaces the lot by measurements.\n";
  return page;
}

TEST(Modelled3090, PageIsWhatTheModelSays) {
  const std::string path = INTAGLIO_SOURCE_DIR "/docs/modelled-3090.md";
  const std::string page = make_page();
  if (std::getenv("INTAGLIO_WRITE_DOCS") != nullptr) {
    const Status written = write_file_atomic(path, page);
    ASSERT_TRUE(written) << written.error().message;
  }
  const Expected<std::string> stored = read_file(path);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(*stored, page) << "run with INTAGLIO_WRITE_DOCS=1 to write it anew";
}

}  // namespace
}  // namespace intaglio::cuda
