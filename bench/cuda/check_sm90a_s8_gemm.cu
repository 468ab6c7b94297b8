// Checks, then times, the Hopper int8 GEMM beside cuBLASLt.
//
//   nvcc -std=c++20 -O3 -Isrc -Ibench/cuda -gencode arch=compute_90a,code=sm_90a
//   bench/cuda/check_sm90a_s8_gemm.cu src/ops/cuda/library/cublaslt.cpp
//     src/ops/cuda/launch/sm90a/sm90a_s8_gemm.cu -ldl -o check_sm90a_s8_gemm
//   ./check_sm90a_s8_gemm [--check-only | --bench-only] [--quick] [--soak] [--json FILE]
//
// Exit status 0: everything agreed. Times are medians over rounds of bursts, candidates in turn, on
// random normal data. Times are of the product as it is used: scales, bias and a bf16 output for
// int8; cuBLASLt's int8 writes int32 and leaves the scales to another pass.
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench_report.h"
#include "check_options.h"
#include "device_bench.cuh"
#include "ops/cuda/launch/sm90a_s8_gemm.h"
#include "ops/cuda/library/cublaslt.h"
#include "s8_gemm_problem.cuh"
#include "swiglu_pass.cuh"

namespace intaglio::bench {
namespace {

using cuda::LtKind;
using cuda::LtProduct;
using cuda::Sm90aS8GemmSchedule;

struct Linear {
  const char* name;
  int n, k;
};
// The linears of Ideogram 4's blocks, and the one that its text features pass.
constexpr Linear kLinears[] = {
    {"qkv", 13824, 4608}, {"out", 4608, 4608}, {"w1w3", 24576, 4608}, {"w2", 4608, 12288}};
constexpr Linear kText{"text", 4608, 53248};

constexpr int kTileRows = 256;  // of a cluster
constexpr int kMainRows[] = {4096, 4608, 16384};
constexpr int kOtherRows[] = {2304, 2560, 4100, 4609, 5000};

int config_count() { return static_cast<int>(cuda::sm90a_s8_gemm_configs().size()); }

const char* config_name(int config) {
  return cuda::sm90a_s8_gemm_configs()[static_cast<size_t>(config)].name;
}

int all_blocks() {
  int count = 0;
  require(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
  return count / 2 * 2;
}

Runner runner_of(int config, const Sm90aS8GemmSchedule& how) {
  return {std::string("sm90a ") + config_name(config) + " band " + std::to_string(how.band) +
              (how.split_k > 1 ? " split " + std::to_string(how.split_k) : ""),
          [](const S8GemmParams& p) { return cuda::refuse_sm90a_s8_gemm(p); },
          [=](const S8GemmParams& p) {
            return cuda::sm90a_s8_gemm_workspace_bytes(p, config, how.split_k);
          },
          [=](const S8GemmParams& p, void* workspace, cudaStream_t stream) {
            return cuda::sm90a_s8_gemm(p, config, how, workspace, stream);
          }};
}

struct Form {
  DType out;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  bool bias = true;
  bool odd = false;  // row stride of the output: the copy engine cannot store it
};
constexpr Form kForms[] = {
    {DType::kI32},
    {DType::kBF16},
    {DType::kBF16, GemmEpilogue::kNone, false},
    {DType::kF16},
    {DType::kF32},
    {DType::kBF16, GemmEpilogue::kSwiglu},
    {DType::kBF16, GemmEpilogue::kSwiglu, false},
    {DType::kF16, GemmEpilogue::kSwiglu},
    {DType::kF32, GemmEpilogue::kSwiglu},
    {DType::kI32, GemmEpilogue::kNone, true, true},
    {DType::kBF16, GemmEpilogue::kNone, true, true},
    {DType::kF16, GemmEpilogue::kNone, true, true},
    {DType::kBF16, GemmEpilogue::kSwiglu, true, true},
};

// Every config and form of one problem. `spare`: columns between rows of the output, a multiple of
// 8.
void check_problem(Operands& operands, Problem q, uint32_t seed, int spare,
                   const Sm90aS8GemmSchedule& how, Tally& tally) {
  operands.prepare(q, seed);
  for (const Form& form : kForms) {
    const bool swiglu = form.epilogue == GemmEpilogue::kSwiglu;
    if (swiglu && q.n % 32 != 0) continue;
    const int columns = swiglu ? q.n / 2 : q.n;
    q.out = form.out;
    q.epilogue = form.epilogue;
    q.bias = form.bias;
    q.out_pad = form.odd ? 1 + columns % 2 : (8 - columns % 8) % 8 + spare;
    const S8GemmParams& p = operands.output(q);
    for (int config = 0; config < config_count(); ++config)
      check_runner(operands, p, runner_of(config, how), tally);
  }
}

// `quick`: few shapes, none of them large (for tools that slow kernels down).
Tally check_everything(bool quick) {
  Operands operands;
  Tally tally;
  const int blocks = all_blocks();
  constexpr int kSmall[][3] = {{1, 1, 1},        {1, 8, 16},       {128, 256, 128}, {129, 257, 129},
                               {256, 512, 4608}, {300, 320, 1000}, {1, 13824, 4608}};
  uint32_t seed = 1;
  for (const auto& [m, n, k] : kSmall) {
    const int pad = (16 - k % 16) % 16;
    check_problem(operands, {.m = m, .n = n, .k = k, .a_pad = pad, .w_pad = pad}, seed += 10, 0,
                  {8, blocks}, tally);
  }
  tally.report("small shapes");

  std::mt19937 random(20261124);
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  const int shapes = quick ? 20 : 200;
  for (int i = 0; i < shapes; ++i) {
    Problem q{.m = 1 + below(i % 4 == 0 ? 2000 : 300),
              .n = 1 + below(i % 4 == 1 ? 3000 : 600),
              .k = 1 + below(i % 4 == 2 ? 9000 : 700)};
    if (i % 3 == 0) q.n = (q.n + 31) / 32 * 32;
    q.a_pad = (16 - q.k % 16) % 16 + 16 * below(3);
    q.w_pad = (16 - q.k % 16) % 16 + 16 * below(3);
    q.a_shift = 16 * below(2);
    q.scale_shift = i % 7 == 6 ? 1 : 0;  // no pairs of scales: plain stores
    q.bias_shift = i % 11 == 10 ? 1 : 0;
    q.nan_row = i % 10 == 0;
    const int spare = 8 * below(2);
    // A few blocks have many tiles each.
    const int some = i % 5 == 4 ? std::min(2 + 2 * below(8), blocks) : blocks;
    const int split = i % 6 == 5 ? 2 + below(4) : 1;
    check_problem(operands, q, seed += 10, spare, {1 + below(9), some, split}, tally);
  }
  tally.report((std::to_string(shapes) + " ragged shapes").c_str());

  if (quick) return tally;

  for (const int m : {4096, 4609}) {
    for (const Linear& s : kLinears) {
      check_problem(operands, {.m = m, .n = s.n, .k = s.k}, seed += 10, 0, {8, blocks}, tally);
      tally.report((std::string(s.name) + ", m = " + std::to_string(m)).c_str());
    }
  }
  for (const int split : {1, 3})
    check_problem(operands, {.m = 512, .n = kText.n, .k = kText.k}, seed += 10, 0,
                  {8, blocks, split}, tally);
  tally.report("text, m = 512");
  return tally;
}

struct Baseline {
  LtKind kind;
  const char* name;
};
constexpr Baseline kBaselines[] = {{LtKind::kBF16, "cublaslt_bf16"},
                                   {LtKind::kS8, "cublaslt_s8_s32"},
                                   {LtKind::kFP8Rowwise, "cublaslt_fp8_rowwise"},
                                   {LtKind::kFP8Tensorwise, "cublaslt_fp8_tensorwise"}};
constexpr size_t kBaselineCount = std::size(kBaselines);

// Medians of one shape; 0: none.
struct Outcome {
  const Linear* linear;
  int m;
  double ours_ms;
  double baseline_ms[kBaselineCount];
};

// The same operands as the baselines take them, and their products.
class Baselines {
 public:
  Baselines(const S8GemmParams& p) {
    const int64_t a_count = int64_t{p.m} * p.k, w_count = int64_t{p.n} * p.k;
    const auto elements = [](int64_t count, size_t size) {
      return DeviceBuffer(static_cast<size_t>(count) * size);
    };
    a16_ = elements(a_count, 2);
    w16_ = elements(w_count, 2);
    a8_ = elements(a_count, 1);
    w8_ = elements(w_count, 1);
    out_ = elements(int64_t{p.m} * p.n, 4);
    convert_s8(p.a, a16_.as<__nv_bfloat16>(), a_count);
    convert_s8(p.w, w16_.as<__nv_bfloat16>(), w_count);
    convert_s8(p.a, a8_.as<__nv_fp8_e4m3>(), a_count);
    convert_s8(p.w, w8_.as<__nv_fp8_e4m3>(), w_count);
    for (const auto& [kind, name] : kBaselines) {
      std::string error;
      products_.push_back(LtProduct::make(kind, {.m = p.m, .n = p.n, .k = p.k},
                                          {.a = p.a_scale_row, .w = p.w_scale_col}, error));
      if (products_.back() == nullptr) {
        std::printf("  %s: %s\n", name, error.c_str());
        continue;
      }
      LtProduct* product = products_.back().get();
      const bool bf16 = kind == LtKind::kBF16, s8 = kind == LtKind::kS8;
      const void* a = bf16 ? a16_.as<void>() : s8 ? p.a : a8_.as<const void>();
      const void* w = bf16 ? w16_.as<void>() : s8 ? p.w : w8_.as<const void>();
      void* out = out_.as<void>();
      candidates.push_back({name, [=](cudaStream_t s) { return product->run(a, w, out, s); }});
    }
  }

  std::vector<Candidate> candidates;

 private:
  DeviceBuffer a16_, w16_, a8_, w8_, out_;
  std::vector<std::unique_ptr<LtProduct>> products_;
};

Outcome time_shape(const Linear& linear, int m, bool quick, Results& results) {
  std::printf("%s %d x %d x %d\n", linear.name, m, linear.n, linear.k);
  Operands operands;
  Problem q{.m = m, .n = linear.n, .k = linear.k, .out = DType::kBF16, .normal = true};
  const S8GemmParams plain = operands.prepare(q, 77);
  q.epilogue = GemmEpilogue::kSwiglu;
  const S8GemmParams gated = operands.output(q);  // the same memory, half of it used
  const Baselines baselines(plain);
  std::vector<Candidate> all = baselines.candidates;
  const int blocks = all_blocks();
  const auto add = [&](const S8GemmParams& p, int config, int band, const char* suffix) {
    const Runner runner = runner_of(config, {band, blocks});
    all.push_back({runner.name + suffix,
                   [=](cudaStream_t stream) { return runner.run(p, nullptr, stream); }});
  };
  const size_t first_plain = all.size();
  for (int config = 0; config < config_count(); ++config) {
    for (const int band : {4, 8, 16, 64})
      if (!quick || band == 8) add(plain, config, band, "");
  }
  const size_t first_gated = all.size();
  for (int config = 0; config < config_count(); ++config) add(gated, config, 8, " swiglu");
  // What the epilogue saves: the product written whole, then the pass.
  const DeviceBuffer halves(static_cast<size_t>(m) * linear.n);
  const Runner whole = runner_of(0, {8, blocks});
  all.push_back({whole.name + " + swiglu pass", [&](cudaStream_t stream) {
                   const cudaError_t status = whole.run(plain, nullptr, stream);
                   return status != cudaSuccess
                              ? status
                              : swiglu_pass(plain.out, halves.as<void>(), m, linear.n, stream);
                 }});

  const std::vector<Times> times = time_interleaved(all, quick ? 5 : 9, 4);
  Outcome outcome{&linear, m, 0.0, {}};
  for (size_t i = 0; i < all.size(); ++i) {
    const Times& t = times[i];
    std::printf("  %-38s %8.4f ms (%.4f to %.4f) %7.1f TOP/s\n", all[i].name.c_str(), t.median_ms,
                t.min_ms, t.max_ms, tera_per_second(m, linear.n, linear.k, t.median_ms));
    results.add(linear.name, m, linear.n, linear.k, all[i].name, t);
    for (size_t b = 0; b < kBaselineCount; ++b)
      if (all[i].name == kBaselines[b].name) outcome.baseline_ms[b] = t.median_ms;
    if (i < first_plain || i >= first_gated) continue;
    if (outcome.ours_ms == 0.0 || t.median_ms < outcome.ours_ms) outcome.ours_ms = t.median_ms;
  }
  std::fflush(stdout);
  return outcome;
}

// The four linears at one m.
struct Mean {
  double tops, ms;                  // geometric mean of the rates; sum of the times
  double baseline[kBaselineCount];  // our rate over theirs; 0: not there for all four
};

Mean mean_at(const std::vector<Outcome>& outcomes, int m) {
  double log_tops = 0.0, ms = 0.0, log_ratio[kBaselineCount] = {};
  bool there[kBaselineCount];
  std::fill(std::begin(there), std::end(there), true);
  int count = 0;
  for (const Outcome& o : outcomes) {
    if (o.m != m) continue;
    ++count;
    ms += o.ours_ms;
    log_tops += std::log(tera_per_second(m, o.linear->n, o.linear->k, o.ours_ms));
    for (size_t b = 0; b < kBaselineCount; ++b) {
      there[b] = there[b] && o.baseline_ms[b] > 0.0;
      if (there[b]) log_ratio[b] += std::log(o.baseline_ms[b] / o.ours_ms);
    }
  }
  Mean mean{std::exp(log_tops / count), ms, {}};
  for (size_t b = 0; b < kBaselineCount; ++b)
    mean.baseline[b] = there[b] ? std::exp(log_ratio[b] / count) : 0.0;
  return mean;
}

// The whole numbers of cluster tiles next to m, m itself not counted.
int rows_below(int m) { return (m - 1) / kTileRows * kTileRows; }
int rows_above(int m) { return (m / kTileRows + 1) * kTileRows; }

std::vector<int> every_m() {
  std::vector<int> all(std::begin(kMainRows), std::end(kMainRows));
  for (const int m : kOtherRows)
    for (const int rows : {rows_below(m), m, rows_above(m)})
      if (std::find(all.begin(), all.end(), rows) == all.end()) all.push_back(rows);
  return all;
}

void summarise(const std::vector<Outcome>& outcomes) {
  std::printf(
      "\ngeometric means over qkv, out, w1w3, w2: our best, and how many times each other\n");
  std::printf("%6s %8s %9s", "m", "TOP/s", "sum ms");
  for (const Baseline& b : kBaselines) std::printf(" %24s", b.name);
  std::printf("\n");
  std::vector<int> rows = every_m();
  std::sort(rows.begin(), rows.end());
  for (const int m : rows) {
    const Mean mean = mean_at(outcomes, m);
    std::printf("%6d %8.1f %9.4f", m, mean.tops, mean.ms);
    for (const double ratio : mean.baseline) {
      if (ratio > 0.0) {
        std::printf(" %23.3fx", ratio);
      } else {
        std::printf(" %24s", "-");
      }
    }
    std::printf("\n");
  }
  std::printf("\nour time of the four beside that of the whole cluster tiles below and above\n");
  for (const int m : kOtherRows) {
    const double ms = mean_at(outcomes, m).ms;
    std::printf("%6d:", m);
    for (const int other : {rows_below(m), rows_above(m)}) {
      std::printf("  %.3fx of %d (rows %.3fx)", ms / mean_at(outcomes, other).ms, other,
                  static_cast<double>(m) / other);
    }
    std::printf("\n");
  }
}

// Products whose tiles do not fill the card: what cutting k gives.
void time_few_tiles(Results& results) {
  constexpr struct {
    int m;
    Linear linear;
  } kFew[] = {{512, kText},       {333, kLinears[1]},  {384, kLinears[0]}, {384, kLinears[1]},
              {384, kLinears[3]}, {1024, kLinears[1]}, {1024, kLinears[3]}};
  const int blocks = all_blocks();
  for (const auto& [m, linear] : kFew) {
    Operands operands;
    const S8GemmParams p = operands.prepare(
        {.m = m, .n = linear.n, .k = linear.k, .out = DType::kBF16, .normal = true}, 77);
    const Baselines baselines(p);
    std::vector<Candidate> all = baselines.candidates;
    size_t bytes = 0;
    std::vector<Runner> runners;
    for (int config = 0; config < config_count(); ++config) {
      for (const int split : {1, 2, 3, 4, 6, 8})
        runners.push_back(runner_of(config, {8, blocks, split}));
    }
    for (const Runner& runner : runners) bytes = std::max(bytes, runner.workspace_bytes(p));
    void* workspace = operands.workspace(bytes);
    for (const Runner& runner : runners)
      all.push_back(
          {runner.name, [=](cudaStream_t stream) { return runner.run(p, workspace, stream); }});
    const std::vector<Times> times = time_interleaved(all, 9, 8);
    size_t best = baselines.candidates.size();
    std::printf("few tiles, %s %d x %d x %d\n", linear.name, m, linear.n, linear.k);
    for (size_t i = 0; i < all.size(); ++i) {
      results.add(("few tiles " + std::string(linear.name)).c_str(), m, linear.n, linear.k,
                  all[i].name, times[i]);
      if (i < baselines.candidates.size())
        std::printf("  %-38s %8.4f ms\n", all[i].name.c_str(), times[i].median_ms);
      if (i >= baselines.candidates.size() && times[i].median_ms < times[best].median_ms) best = i;
    }
    std::printf("  best %-33s %8.4f ms %7.1f TOP/s\n", all[best].name.c_str(),
                times[best].median_ms,
                tera_per_second(m, linear.n, linear.k, times[best].median_ms));
  }
}

void time_everything(bool quick, Results& results) {
  std::vector<Outcome> outcomes;
  results.sample("before");
  for (const int m : every_m()) {
    for (const Linear& linear : kLinears) {
      outcomes.push_back(time_shape(linear, m, quick, results));
      results.write();
    }
    results.sample("after m = " + std::to_string(m));
  }
  time_few_tiles(results);
  results.write();
  summarise(outcomes);
}

// Each candidate alone for as long as power and clocks take to settle: what it does with a clock,
// and with a joule.
void soak(const Linear& linear, int m, Results& results) {
  constexpr double kMs = 1500.0;
  std::printf("soak %s %d x %d x %d\n", linear.name, m, linear.n, linear.k);
  Operands operands;
  const S8GemmParams p = operands.prepare(
      {.m = m, .n = linear.n, .k = linear.k, .out = DType::kBF16, .normal = true}, 77);
  const Baselines baselines(p);
  std::vector<Candidate> all = baselines.candidates;
  for (int config = 0; config < config_count(); ++config) {
    const Runner runner = runner_of(config, {8, all_blocks()});
    all.push_back(
        {runner.name, [=](cudaStream_t stream) { return runner.run(p, nullptr, stream); }});
  }
  cudaEvent_t middle, end;
  require(cudaEventCreate(&middle), "cudaEventCreate");
  require(cudaEventCreate(&end), "cudaEventCreate");
  for (const Candidate& c : all) {
    const double once = time_interleaved({&c, 1}, 1, 20).front().median_ms;
    const int launches = std::max(2, static_cast<int>(kMs / once));
    for (int i = 0; i < launches; ++i) {
      if (i == launches / 2) require(cudaEventRecord(middle), "cudaEventRecord");
      require(c.launch(cudaStream_t{}), c.name.c_str());
    }
    require(cudaEventRecord(end), "cudaEventRecord");
    // The queue holds about a thousand launches: most of the second half still runs.
    results.sample("while " + c.name + " runs");
    require(cudaEventSynchronize(end), c.name.c_str());
    float ms = 0.0f;
    require(cudaEventElapsedTime(&ms, middle, end), "cudaEventElapsedTime");
    const double each = static_cast<double>(ms) / (launches - launches / 2);
    std::printf("  %-38s %8.4f ms %7.1f TOP/s\n", c.name.c_str(), each,
                tera_per_second(m, linear.n, linear.k, each));
    results.add(linear.name, m, linear.n, linear.k, "soak " + c.name, {each, each, each});
  }
  cudaEventDestroy(middle);
  cudaEventDestroy(end);
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) {
  using namespace intaglio::bench;
  CheckOptions options;
  bool soaks = false;
  const auto own = [&](const char* argument) {
    if (std::strcmp(argument, "--soak") != 0) return false;
    soaks = true;
    return true;
  };
  if (!read_check_options(argc, argv, options, own)) return 2;
  const auto [check, bench, quick, json] = options;
  Results results(json, argc, argv);
  Tally tally;
  if (soaks) {
    soak(kLinears[0], 4096, results);
    soak(kLinears[3], 4608, results);
  } else {
    if (check) {
      tally = check_everything(quick);
      std::printf(tally.failed == 0 ? "all agree\n" : "%d products differ\n", tally.failed);
      std::fflush(stdout);
    }
    if (bench && tally.failed == 0) time_everything(quick, results);
  }
  results.write();
  return tally.failed == 0 ? 0 : 1;
}
