// Checks, then times, the int8 GEMMs built on mma.sync: sm80_s8_gemm (every config),
// small_m_s8_gemm, sm75_s8_gemm.
//
//   nvcc -std=c++20 -O3 -Isrc -gencode arch=compute_90a,code=sm_90a
//   bench/cuda/check_sm80_s8_gemm.cu src/ops/cuda/launch/*.cu -o check_sm80_s8_gemm
//   ./check_sm80_s8_gemm [--check-only | --bench-only] [--quick] [--no-flush] [--json PATH]
//
// Exit status 0: everything agreed. Times are medians on random normal data: many rows, of bursts
// with all candidates in turn; few rows, of 21 runs with L2 overwritten before each.
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "bench_report.h"
#include "check_options.h"
#include "device_bench.cuh"
#include "ops/cuda/launch/sm75_s8_gemm.h"
#include "ops/cuda/launch/sm80_s8_gemm.h"
#include "ops/cuda/launch/small_m_s8_gemm.h"
#include "s8_gemm_problem.cuh"

namespace intaglio::bench {
namespace {

Runner sm80_runner(cuda::Sm80Launch launch) {
  const auto configs = cuda::sm80_s8_gemm_configs();
  const auto config = launch.config;
  return {std::string(configs[static_cast<size_t>(config)].name) + "/split" +
              std::to_string(launch.split_k) + (launch.persistent ? "" : "/one_tile"),
          [=](const S8GemmParams& p) { return cuda::sm80_s8_gemm_refusal(p, config); },
          [=](const S8GemmParams& p) {
            return cuda::sm80_s8_gemm_workspace_bytes(p, config, launch.split_k);
          },
          [=](const S8GemmParams& p, void* workspace, cudaStream_t stream) {
            return cuda::sm80_s8_gemm(p, launch, workspace, stream);
          }};
}

Runner small_m_runner(int config, int split) {
  const auto configs = cuda::small_m_s8_gemm_configs();
  return {std::string(configs[static_cast<size_t>(config)].name) + "/split" + std::to_string(split),
          [=](const S8GemmParams& p) { return cuda::small_m_s8_gemm_refusal(p, config); },
          [=](const S8GemmParams& p) {
            return cuda::small_m_s8_gemm_workspace_bytes(p, config, split);
          },
          [=](const S8GemmParams& p, void* workspace, cudaStream_t stream) {
            return cuda::small_m_s8_gemm(p, config, split, workspace, stream);
          }};
}

Runner sm75_runner() {
  return {"sm75_128x128x64_2", [](const S8GemmParams& p) { return cuda::sm75_s8_gemm_refusal(p); },
          [](const S8GemmParams&) { return size_t{0}; },
          [](const S8GemmParams& p, void*, cudaStream_t stream) {
            return cuda::sm75_s8_gemm(p, stream);
          }};
}

int sm80_count() { return static_cast<int>(cuda::sm80_s8_gemm_configs().size()); }

std::vector<Runner> every_runner(const S8GemmParams& p, int split) {
  std::vector<Runner> list;
  for (int config = 0; config < sm80_count(); ++config) {
    // Byte loads: too slow for the large shapes, and these have aligned rows.
    if (cuda::sm80_s8_gemm_configs()[static_cast<size_t>(config)].any_rows && p.m > 1000) continue;
    list.push_back(sm80_runner(
        {.config = config, .split_k = split, .group_n = split, .persistent = split % 2 == 1}));
  }
  list.push_back(sm75_runner());
  if (p.m <= 150) {
    for (int config = 0; config < static_cast<int>(cuda::small_m_s8_gemm_configs().size());
         ++config)
      list.push_back(small_m_runner(config, split));
  }
  return list;
}

void check_problem(Operands& operands, const Problem& problem, uint32_t seed, int split,
                   Tally& tally) {
  const S8GemmParams& p = operands.prepare(problem, seed);
  for (const Runner& runner : every_runner(p, split)) check_runner(operands, p, runner, tally);
}

// `quick`: few shapes, none of them large (for tools that slow kernels down).
Tally check_everything(bool quick) {
  Operands operands;
  Tally tally;
  std::mt19937 random(20261124);
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  constexpr DType kOuts[] = {DType::kI32, DType::kBF16, DType::kF32, DType::kF16};
  const int shapes = quick ? 20 : 200;
  for (int i = 0; i < shapes; ++i) {
    Problem q{.m = i % 3 == 0 ? 1 + below(70) : 1 + below(700),
              .n = 1 + below(900),
              .k = i % 5 == 0 ? 1 + below(70) : 1 + below(1500)};
    const bool aligned = i % 4 != 3;
    q.a_pad = aligned ? (16 - q.k % 16) % 16 + 16 * below(3) : below(20);
    q.w_pad = aligned ? (16 - q.k % 16) % 16 + 16 * below(3) : below(20);
    q.a_shift = aligned ? 16 * below(2) : below(16);
    if (i % 4 == 1) q.n = (q.n + 31) / 32 * 32;
    q.out_pad = i % 2 == 0 ? below(12) : (8 - q.n % 8) % 8 + 8 * below(2);
    q.scale_shift = q.m % 2;
    q.bias_shift = q.n % 2;
    q.nan_row = i % 10 == 0;
    q.bias = i % 7 != 0;
    const int split = i % 2 == 0 ? 1 : 1 + below(6);
    for (const DType out : kOuts) {
      q.out = out;
      q.epilogue = GemmEpilogue::kNone;
      check_problem(operands, q, 1000u * i, split, tally);
      if (q.n % 32 != 0 || out == DType::kI32) continue;
      q.epilogue = GemmEpilogue::kSwiglu;
      check_problem(operands, q, 1000u * i + 500, split, tally);
    }
  }
  tally.report((std::to_string(shapes) + " ragged shapes, all outputs").c_str());
  if (quick) return tally;

  constexpr Shape kShapes[] = {{"text", 512, 4608, 53248},
                               {"qkv", 4608, 13824, 4608},
                               {"out", 4608, 4608, 4608},
                               {"w1w3", 4608, 24576, 4608},
                               {"w2", 4608, 4608, 12288}};
  for (const Shape& s : kShapes) {
    Problem q{.m = s.m, .n = s.n, .k = s.k};
    check_problem(operands, q, 7, 1, tally);
    if (s.n == 4608) check_problem(operands, q, 8, 3, tally);
    q.out = DType::kBF16;
    check_problem(operands, q, 9, 1, tally);
    q.epilogue = GemmEpilogue::kSwiglu;
    check_problem(operands, q, 10, 1, tally);
    tally.report(s.name);
  }
  for (const int m : {1, 2, 8, 9, 16, 31, 64, 100}) {
    for (const int split : {1, 2, 5}) {
      check_problem(operands, {.m = m, .n = 4608, .k = 4608, .out = DType::kBF16}, 11, split,
                    tally);
      check_problem(operands, {.m = m, .n = 4608, .k = 4608}, 12, split, tally);
    }
  }
  tally.report("1 to 100 rows");
  return tally;
}

// shape, m, n, k, and what CUTLASS 2 (mma.sync) reached on an H100 SXM: median TOP/s.
struct TimedShape {
  Shape shape;
  int cutlass2_tops;
  GemmEpilogue epilogue;
};
constexpr TimedShape kTimed[] = {{{"qkv", 4096, 13824, 4608}, 903, GemmEpilogue::kNone},
                                 {{"out", 4096, 4608, 4608}, 826, GemmEpilogue::kNone},
                                 {{"w1w3", 4096, 24576, 4608}, 907, GemmEpilogue::kNone},
                                 {{"w2", 4096, 4608, 12288}, 898, GemmEpilogue::kNone},
                                 {{"qkv", 4608, 13824, 4608}, 882, GemmEpilogue::kNone},
                                 {{"out", 4608, 4608, 4608}, 807, GemmEpilogue::kNone},
                                 {{"w1w3", 4608, 24576, 4608}, 889, GemmEpilogue::kNone},
                                 {{"w2", 4608, 4608, 12288}, 909, GemmEpilogue::kNone},
                                 {{"w1w3 swiglu", 4608, 24576, 4608}, 0, GemmEpilogue::kSwiglu}};

double tops_of(const S8GemmParams& p, const Times& t) {
  return tera_per_second(p.m, p.n, p.k, t.median_ms);
}

// Every config, then other rasters of the large tiles and one block a tile; all in turn, so that
// all see the same clocks.
std::vector<cuda::Sm80Launch> large_launches() {
  std::vector<cuda::Sm80Launch> list;
  const auto configs = cuda::sm80_s8_gemm_configs();
  for (int config = 0; config < sm80_count(); ++config)
    if (!configs[static_cast<size_t>(config)].any_rows) list.push_back({.config = config});
  for (int config = 0; config < sm80_count(); ++config) {
    const auto& c = configs[static_cast<size_t>(config)];
    if (c.tile_m * c.tile_n < 128 * 256 || c.stages < 3) continue;
    list.push_back({.config = config, .persistent = false});
    for (const int group : {2, 8, 32}) list.push_back({.config = config, .group_n = group});
  }
  return list;
}

void time_large(Results& results) {
  Operands operands;
  double log_ratio = 0.0;
  int ratios = 0;
  for (const TimedShape& timed : kTimed) {
    const Shape& s = timed.shape;
    const S8GemmParams p = operands.prepare({.m = s.m,
                                             .n = s.n,
                                             .k = s.k,
                                             .out = DType::kBF16,
                                             .epilogue = timed.epilogue,
                                             .normal = true},
                                            77);
    std::printf("\n%s m=%d n=%d k=%d\n", s.name, s.m, s.n, s.k);
    std::vector<Candidate> candidates;
    for (const cuda::Sm80Launch& launch : large_launches()) {
      const Runner runner = sm80_runner(launch);
      if (runner.refusal(p) != nullptr) continue;
      const std::string group = launch.group_n > 0 ? "/group" + std::to_string(launch.group_n) : "";
      candidates.push_back({runner.name + group,
                            [=](cudaStream_t stream) { return runner.run(p, nullptr, stream); }});
    }
    const std::vector<Times> times = time_interleaved(candidates, 9, 3);
    size_t best = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      results.add(s.name, p.m, p.n, p.k, candidates[i].name, times[i]);
      std::printf("  %-42s %8.4f ms (%.4f to %.4f) %7.1f TOP/s\n", candidates[i].name.c_str(),
                  times[i].median_ms, times[i].min_ms, times[i].max_ms, tops_of(p, times[i]));
      if (times[i].median_ms < times[best].median_ms) best = i;
    }
    if (timed.cutlass2_tops > 0) {
      const double tops = tops_of(p, times[best]);
      std::printf("  best %s: %.1f TOP/s; CUTLASS 2 %d: %.3fx\n", candidates[best].name.c_str(),
                  tops, timed.cutlass2_tops, tops / timed.cutlass2_tops);
      log_ratio += std::log(tops / timed.cutlass2_tops);
      ++ratios;
    }
    results.sample(std::string("after ") + s.name);
    std::fflush(stdout);
  }
  std::printf("\ngeometric mean against CUTLASS 2: %.3fx\n", std::exp(log_ratio / ratios));
}

// Few rows: the rate of reading the weights is what counts.
void time_small(const TimingOptions& timing, Results& results) {
  Operands operands;
  for (const auto& [n, k] : {std::pair{4608, 4608}, {27648, 4608}, {4608, 12288}}) {
    for (const int m : {1, 8, 16, 32, 64}) {
      const S8GemmParams& p =
          operands.prepare({.m = m, .n = n, .k = k, .out = DType::kBF16, .normal = true}, 78);
      std::vector<Runner> runners;
      for (int config = 0; config < 4; ++config)
        for (const int split : {1, 2, 4}) runners.push_back(small_m_runner(config, split));
      for (int config = 0; config < sm80_count(); ++config) {
        const auto& c = cuda::sm80_s8_gemm_configs()[static_cast<size_t>(config)];
        if (c.tile_m > 64 || c.tile_m * c.tile_n > 8192 || c.any_rows) continue;
        for (const int split : {1, 4, 8})
          runners.push_back(sm80_runner({.config = config, .split_k = split}));
      }
      Times best{1e9, 0, 0};
      std::string best_name;
      for (const Runner& runner : runners) {
        if (runner.refusal(p) != nullptr) continue;
        const size_t bytes = runner.workspace_bytes(p);
        void* workspace = bytes > 0 ? operands.workspace(bytes) : nullptr;
        const Times t = time_on_device(
            timing, [&](cudaStream_t stream) { return runner.run(p, workspace, stream); });
        results.add("few rows", m, n, k, runner.name, t);
        if (t.median_ms < best.median_ms) {
          best = t;
          best_name = runner.name;
        }
      }
      std::printf("few rows m=%-3d n=%-6d k=%-6d best %-28s %8.4f ms, weights at %6.0f GB/s\n", m,
                  n, k, best_name.c_str(), best.median_ms, 1e-6 * n * k / best.median_ms);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) {
  using namespace intaglio::bench;
  CheckOptions options;
  TimingOptions timing;
  const auto own = [&](const char* argument) {
    if (std::strcmp(argument, "--no-flush") != 0) return false;
    timing.flush_l2 = false;
    return true;
  };
  if (!read_check_options(argc, argv, options, own)) return 2;
  const auto [check, bench, quick, json] = options;
  Tally tally;
  if (check) {
    tally = check_everything(quick);
    std::printf(tally.failed == 0 ? "all agree\n" : "%d products differ\n", tally.failed);
  }
  Results results(json, argc, argv);
  results.set_checks(tally.checked, tally.failed);
  if (bench) {
    time_large(results);
    time_small(timing, results);
  }
  results.write();
  return tally.failed == 0 ? 0 : 1;
}
