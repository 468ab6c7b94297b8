// docs/modelled-3090.md is made here, from the model itself, so that no figure of it is typed:
//   INTAGLIO_WRITE_DOCS=1 build/test/bin/intaglio_tests --gtest_filter='Modelled3090.*'
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "advice/deployment_map.h"
#include "core/files.h"
#include "gpus.h"
#include "models/model.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"
#include "support/source_folder.h"

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
    {"w1, w3 + SwiGLU", {4608, 24576, 4608, GemmEpilogue::kSwiglu}},
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

// One pass of Ideogram 4's transformer with int8 linears and int8 scores, by mma.sync alone.
struct PassTimes {
  double linears_ms = 0.0, attention_ms = 0.0, memory_ms = 0.0;
  double total_ms() const { return linears_ms + attention_ms + memory_ms; }
};

constexpr int64_t kLayers = 34, kWidth = 4608, kHidden = 12288;

struct CardRates {
  double s8_tops, bf16_tflops;   // mma.sync
  double attention_shared_tops;  // what shared memory allows the attention kernel
  double memory_gb_per_s;        // data sheet
};

// Shares of their limits that the kernels reached on an H100.
constexpr double kAttentionShare = 0.8;  // 444 of 560 TFLOP/s, bound by shared memory
constexpr double kMemoryShare = 0.82;    // 2750 of 3350 GB/s

PassTimes pass_times(const CudaDevice& device, const CardRates& rates, int64_t tokens) {
  PassTimes times;
  std::vector<TileConfig> configs;
  for (const TileConfig& c : tile_configs(device))
    if (c.family == S8GemmFamily::kSm80) configs.push_back(c);
  for (const S8GemmShape& s :
       {S8GemmShape{tokens, 3 * kWidth, kWidth}, S8GemmShape{tokens, kWidth, kWidth},
        S8GemmShape{tokens, 2 * kHidden, kWidth, GemmEpilogue::kSwiglu},
        S8GemmShape{tokens, kWidth, kHidden}})
    times.linears_ms += kLayers * rank_s8_gemm(device, s, configs).front().predicted_ms;
  const auto plane = static_cast<double>(tokens * kWidth);
  const double half = 2e-9 * static_cast<double>(tokens) * plane;  // GOP of each product
  const double tensor_ms = half / rates.s8_tops + half / rates.bf16_tflops;
  const double shared_ms = 2.0 * half / rates.attention_shared_tops;
  times.attention_ms = kLayers * std::max(tensor_ms, shared_ms) / kAttentionShare;
  // Rope 10 bytes an element, attention's rows to int8 3, two residuals with their norms 11 each;
  // the hidden rows 3.
  const double bytes = plane * 35.0 + static_cast<double>(tokens * kHidden) * 3.0;
  times.memory_ms = kLayers * bytes / (kMemoryShare * rates.memory_gb_per_s) * 1e-6;
  return times;
}

// Both passes at 1024 x 1024 by mma.sync, as `intaglio map` measured them on an H100.
std::string measured_ms(int64_t tokens) {
  const auto text = read_file(test::source_path("bench/results/map_h100_mma.json"));
  const auto map = parse_deployment_map(text.value_or(""), "map_h100_mma.json");
  if (!map) return "no result";
  for (const MapEntry& e : map->entries) {
    if (e.precision != Precision::kInt8 || e.width != 1024) continue;
    return fmt::format("{:.0f} ms",
                       tokens == e.image_tokens ? e.unconditional_ms : e.conditional_ms);
  }
  return "no result";
}

// A picture of 1024 x 1024 with each mask whose time was measured on an H200: what its passes with
// the text and without it take. Of a reused pass only its first blocks are computed.
std::string mask_table(double conditional_ms, double unconditional_ms) {
  const auto text = read_file(test::source_path("bench/results/h200_step_masks.json"));
  const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (json.is_discarded()) return "no result\n\n";
  const auto steps = json.at("schedule").at("steps").get<size_t>();
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}, {.transformer = 1}}};
  sampling.steps.assign(steps, {.weights = {7.0f, -6.0f}});
  const std::vector<int64_t> blocks{kLayers, kLayers};
  std::string page =
      "| mask | passes with text | without | 48 steps |\n"
      "| --- | --- | --- | --- |\n";
  for (const nlohmann::json& one : json.at("masks")) {
    StepMask mask;
    for (const nlohmann::json& pass : one.value("passes", nlohmann::json::array()))
      mask.passes.push_back(parse_pass_work(pass.get<std::string>()).value());
    sampling.mask.reset();
    if (!mask.passes.empty()) sampling.mask = mask;
    const std::vector<double> computed = computed_passes(sampling, blocks);
    page += fmt::format("| {} | {:g} | {:g} | {:.1f} s |\n", one.at("mask").get<std::string>(),
                        computed[0], computed[1],
                        1e-3 * (computed[0] * conditional_ms + computed[1] * unconditional_ms));
  }
  return page + "\n";
}

std::string pass_table() {
  // 560 TFLOP/s at 132 x 1.98 GHz; a 3090 has 82 x 1.695 GHz of the same shared memory.
  const double shared_3090 = 560.0 * 82 * 1.695 / (132 * 1.98);
  const CardRates h100_rates{1250, 625, 560, 3350}, rtx_3090_rates{284, 71, shared_3090, 936};
  std::string page =
      "| card | tokens | linears | attention | passes over memory | one pass | measured |\n"
      "| --- | --- | --- | --- | --- | --- | --- |\n";
  const auto row = [&](const char* card, const CudaDevice& device, const CardRates& rates,
                       int64_t tokens, const std::string& measured) {
    const PassTimes t = pass_times(device, rates, tokens);
    page += fmt::format("| {} | {} | {:.0f} ms | {:.0f} ms | {:.0f} ms | {:.0f} ms | {} |\n", card,
                        tokens, t.linears_ms, t.attention_ms, t.memory_ms, t.total_ms(), measured);
    return t.total_ms();
  };
  row("H100, mma.sync only", h100(), h100_rates, 4608, measured_ms(4608));
  row("H100, mma.sync only", h100(), h100_rates, 4096, measured_ms(4096));
  const double conditional = row("RTX 3090", rtx_3090(), rtx_3090_rates, 4608, "");
  const double unconditional = row("RTX 3090", rtx_3090(), rtx_3090_rates, 4096, "");
  return page +
         fmt::format(
             "\n48 steps of both passes on a 3090: **{:.0f} s** for a picture of 1024 x 1024, "
             "modelled, the text encoder and the VAE (about 2 s) not counted. With the masks that "
             "docs/fewer-passes.md has measured:\n\n",
             0.048 * (conditional + unconditional)) +
         mask_table(conditional, unconditional);
}

// The main loop of sm80_s8_attention and sm80_s8_values_attention: what 8 warps, 128 queries, do
// with one tile of keys.
struct AttentionLoop {
  int head_dim, heads, keys;
  bool s8_values;
  // Issued by a warp, those of the tensor cores too, counted in the PTX of the loop: without moves,
  // without address sums that loads take as offsets, without the branches that are rare.
  int instructions;
};

constexpr AttentionLoop kAttentionLoops[] = {{256, 18, 32, false, 320},
                                             {256, 18, 32, true, 562},
                                             {128, 36, 64, false, 423},
                                             {128, 36, 64, true, 714}};

// Clocks of a multiprocessor for each resource.
struct LoopClocks {
  double tensor = 0.0, shared = 0.0, issue = 0.0;
  double slowest() const { return std::max({tensor, shared, issue}); }
};

LoopClocks loop_clocks(const AttentionLoop& loop) {
  constexpr double kS8Products = 1024.0, kBf16Products = 256.0, kSharedBytes = 128.0;
  constexpr int kWarps = 8, kSchedulers = 4;
  const double products = 128.0 * loop.keys * loop.head_dim;
  const double k_bytes = loop.keys * loop.head_dim, v_bytes = (loop.s8_values ? 1 : 2) * k_bytes;
  return {
      .tensor = products / kS8Products + products / (loop.s8_values ? kS8Products : kBf16Products),
      // Every warp reads the whole tile; the copies write it once.
      .shared = (kWarps + 1) * (k_bytes + v_bytes) / kSharedBytes,
      .issue = static_cast<double>(kWarps / kSchedulers * loop.instructions)};
}

// Of one layer at `share` of the limit, with the pass that makes v int8: 2 bytes twice, then 1.
double layer_ms(const AttentionLoop& loop, int64_t tokens, double share) {
  const int64_t blocks = (tokens + 127) / 128 * loop.heads;
  const auto rounds = static_cast<double>((blocks + 81) / 82 * ((tokens - 1) / loop.keys + 1));
  const double plane = static_cast<double>(tokens * loop.heads * loop.head_dim);
  return rounds * loop_clocks(loop).slowest() / (1.695e6 * share) +
         (loop.s8_values ? 5.0 * plane / (kMemoryShare * 936e6) : 0.0);
}

std::string int8_values_section() {
  std::string page =
      "## Attention with int8 values\n"
      "`--attention int8-values` (docs/numerics.md) has both products at the int8 rate. Clocks of "
      "a "
      "multiprocessor for 128 queries, 8 warps, and one tile of keys. Instructions: a warp's, "
      "counted in the PTX of the loop without moves and rare branches, four issued a clock; two an "
      "element, a subtraction and a fused multiply-add, add the sums of 32 int8 values to the "
      "output. A layer has 4608 rows and takes the slowest resource at 0.80, the share of the "
      "table "
      "above, and where v becomes int8 that pass (5 bytes an element at 0.82 of the memory's "
      "rate).\n\n"
      "| heads | keys | values | tensor cores | shared memory | instructions | a layer |\n"
      "| --- | --- | --- | --- | --- | --- | --- |\n";
  for (const AttentionLoop& loop : kAttentionLoops) {
    const LoopClocks clocks = loop_clocks(loop);
    page +=
        fmt::format("| {} x {} | {} | {} | {:.0f} | {:.0f} | {:.0f} | {:.2f} ms |\n", loop.heads,
                    loop.head_dim, loop.keys, loop.s8_values ? "int8" : "bf16", clocks.tensor,
                    clocks.shared, clocks.issue, layer_ms(loop, 4608, kAttentionShare));
  }
  const auto pass = [](int64_t tokens, bool s8_values, double share) {
    return kLayers * layer_ms(kAttentionLoops[s8_values ? 1 : 0], tokens, share);
  };
  const auto saved_s = [&](double share) {
    double ms = 0.0;
    for (const int64_t tokens : {4608, 4096})
      ms += pass(tokens, false, kAttentionShare) - pass(tokens, true, share);
    return 0.048 * ms;
  };
  page += fmt::format(
      "\nAttention of a pass at 4608 rows comes to {:.0f} ms from {:.0f} ms, and a picture of 48 "
      "steps takes **{:.1f} s less**. The tensor cores no longer hide all else: instructions fill "
      "{:.0f}% of the loop's clocks, not {:.0f}%, so the share may be lower; at 0.70 it is {:.1f} "
      "s "
      "less. With heads of 128 the exponentials are twice as many for the same products.\n\n",
      pass(4608, true, kAttentionShare), pass(4608, false, kAttentionShare),
      saved_s(kAttentionShare),
      100.0 * loop_clocks(kAttentionLoops[1]).issue / loop_clocks(kAttentionLoops[1]).slowest(),
      100.0 * loop_clocks(kAttentionLoops[0]).issue / loop_clocks(kAttentionLoops[0]).slowest(),
      saved_s(0.70));
  return page;
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
      "## A whole pass, and a picture\n"
      "int8 linears as above. Attention with int8 scores: the slower of the tensor cores (q k^T at "
      "the int8 rate, P V at bf16's) and of shared memory (560 TFLOP/s on an H100, in proportion "
      "to "
      "multiprocessors and clock elsewhere), of which the kernel reaches 0.80 there. Passes over "
      "memory: 35 bytes an element of width and 3 of the hidden width, at 0.82 of the data sheet's "
      "rate, as on the H100. The H100's rows are there to judge the model by: "
      "`INTAGLIO_GPU_ISA=sm80 "
      "intaglio map` gave the measured ones (docs/deployment-map.md).\n\n";
  page += pass_table();
  page += int8_values_section();
  page +=
      "## What it does not know\n"
      "- The clock under load: 1.695 GHz is the published boost clock. Cards hold more or less, "
      "and INT8 at full rate may meet the power limit.\n"
      "- The L2 rate, the 40 clocks of a barrier, and the constants 0.95, 0.93 and 0.1 are "
      "assumptions. `intaglio tune` replaces the lot by measurements.\n";
  return page;
}

TEST(Modelled3090, PageIsWhatTheModelSays) {
  const std::string path = test::source_path("docs/modelled-3090.md");
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
