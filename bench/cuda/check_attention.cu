// Checks, then times, Hopper's attention kernels: sm90a_bf16_attention, sm90a_s8_attention, every
// tile of each.
//
//   nvcc -std=c++20 -O3 -I. -Isrc -Ibench/cuda -gencode arch=compute_90a,code=sm_90a
//   bench/cuda/check_attention.cu src/ops/cuda/launch/sm90a/sm90a_attention.cu -o check_attention
//   ./check_attention [--check-only | --bench-only] [--quick] [--json PATH]
//
// Checks: against float64 (attention_reference.cuh; tolerance: AttentionOperands::judge), NaN where
// it belongs, nothing written outside, the same bits twice. Times: medians of bursts, all tiles in
// turn, on random normal data. TFLOP/s counts 4 tokens^2 heads head_dim operations, half of that
// with a causal mask; in the JSON m and n are tokens, k = 2 heads head_dim, or heads head_dim if
// causal, so that 2 m n k is the same number.
#include <cstring>
#include <string>

#include "attention_problem.cuh"
#include "attention_reference.cuh"
#include "bench_report.h"
#include "check_options.h"
#include "device_bench.cuh"
#include "ops/cuda/launch/sm90a_attention.h"

namespace intaglio::bench {
namespace {

using cuda::AttentionParams;

struct Tally {
  int checked = 0, failed = 0;
  double worst = 0.0;
};

void check_one(const AttentionProblem& problem, Tally& tally) {
  const AttentionOperands operands(problem);
  const AttentionParams& p = operands.params();
  const auto tiles = cuda::sm90a_attention_tiles();
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (tiles[i].s8 != problem.s8 || tiles[i].head_dim != problem.head_dim) continue;
    const auto run = [&] {
      operands.poison();
      require(cuda::sm90a_attention_with(p, static_cast<int>(i), nullptr), tiles[i].name);
      require(cudaDeviceSynchronize(), tiles[i].name);
      return operands.output();
    };
    const auto first = run(), second = run();
    std::string wrong = operands.judge(first);
    if (wrong.empty() && first != second) wrong = "two runs differ";
    ++tally.checked;
    tally.worst = std::max(tally.worst, operands.worst());
    if (wrong.empty()) continue;
    if (++tally.failed <= 40)
      std::printf("WRONG %s: %s: %s\n", tiles[i].name, problem.name().c_str(), wrong.c_str());
  }
}

// What must be refused, is.
void check_refusals(Tally& tally) {
  alignas(16) static uint8_t memory[32];
  static const float scale = 1.0f;
  const AttentionParams good{.q = memory,
                             .k = memory,
                             .v = memory,
                             .out = memory,
                             .ldq = 1536,
                             .ldk = 1536,
                             .ldv = 1536,
                             .ldo = 512,
                             .tokens = 7,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 128,
                             .q_scale = &scale,
                             .k_scale = &scale};
  const auto expect = [&](bool refused, const char* what, auto&& change) {
    AttentionParams p = good;
    change(p);
    ++tally.checked;
    if ((cuda::sm90a_bf16_attention_refusal(p) != nullptr) == refused &&
        (cuda::sm90a_s8_attention_refusal(p) != nullptr) == refused)
      return;
    ++tally.failed;
    std::printf("WRONG refusal: %s\n", what);
  };
  expect(false, "good", [](AttentionParams&) {});
  expect(true, "head_dim", [](AttentionParams& p) { p.head_dim = 96; });
  expect(true, "tokens", [](AttentionParams& p) { p.tokens = 0; });
  expect(true, "heads", [](AttentionParams& p) { p.heads = 3; });
  expect(true, "v address", [](AttentionParams& p) { p.v = memory + 8; });
  expect(true, "out stride", [](AttentionParams& p) { p.ldo = 516; });
  expect(true, "out too narrow", [](AttentionParams& p) { p.ldo = 504; });
}

Tally check_everything(bool quick) {
  Tally tally;
  check_refusals(tally);
  constexpr int kTokens[] = {1, 7, 64, 65, 127, 128, 129, 200, 333, 1000, 1153};
  constexpr int kHeads[][2] = {{1, 1}, {2, 1}, {3, 3}, {3, 1}, {2, 2}};
  constexpr AttentionData kData[] = {AttentionData::kNormal, AttentionData::kSharp,
                                     AttentionData::kWide, AttentionData::kNanKey};
  uint32_t index = 0;
  for (const int head_dim : {256, 128, 64}) {
    for (const bool s8 : {false, true}) {
      const int before = tally.failed;
      for (const int tokens : kTokens) {
        if (quick && tokens != 7 && tokens != 129 && tokens != 333) continue;
        for (const bool causal : {false, true}) {
          // Plain data at every shape, and one of the hard kinds in turn; all of them at two sizes.
          for (const AttentionData data : kData) {
            const bool turn = data == kData[1 + index / 4 % 3];
            ++index;
            if (data != AttentionData::kNormal && !turn && tokens != 200 && tokens != 333) continue;
            const auto& heads = kHeads[index % 5];
            check_one({.tokens = tokens,
                       .heads = heads[0],
                       .kv_heads = heads[1],
                       .head_dim = head_dim,
                       .causal = causal,
                       .s8 = s8,
                       .data = data,
                       .in_pad = 8 * static_cast<int>(index % 2),
                       .out_pad = 8 * static_cast<int>(index % 3),
                       .seed = index},
                      tally);
          }
        }
      }
      std::printf("%s x %d: %s\n", s8 ? "s8" : "bf16", head_dim,
                  tally.failed == before ? "agrees" : "WRONG");
      std::fflush(stdout);
    }
  }
  std::printf("%d checks, %d failed, worst error %.2f of the bound\n", tally.checked, tally.failed,
              tally.worst);
  return tally;
}

struct Shape {
  const char* name;
  int tokens, heads, kv_heads, head_dim;
  bool causal;
};

constexpr Shape kShapes[] = {
    {"18x256", 4096, 18, 18, 256, false},       {"18x256", 4608, 18, 18, 256, false},
    {"18x256", 6144, 18, 18, 256, false},       {"18x256 ragged", 4609, 18, 18, 256, false},
    {"32/8x128 causal", 512, 32, 8, 128, true}, {"32/8x128 causal", 2048, 32, 8, 128, true},
    {"18x256 causal", 4608, 18, 18, 256, true}, {"36x128", 4608, 36, 36, 128, false},
};

void time_shape(const Shape& shape, bool quick, Results& results) {
  const int64_t d = shape.head_dim, q_columns = shape.heads * d, kv_columns = shape.kv_heads * d;
  const int64_t ld = q_columns + 2 * kv_columns, tokens = shape.tokens;
  const int64_t k_blocks = (tokens - 1) / kS8KeyBlock + 1;
  const DeviceBuffer rows(static_cast<size_t>(tokens * ld) * 2);
  const DeviceBuffer out(static_cast<size_t>(tokens * q_columns) * 2);
  const DeviceBuffer q(static_cast<size_t>(tokens * q_columns));
  const DeviceBuffer k(static_cast<size_t>(tokens * kv_columns));
  const DeviceBuffer q_scale(static_cast<size_t>(tokens * shape.heads) * 4);
  const DeviceBuffer k_scale(static_cast<size_t>(k_blocks * shape.kv_heads) * 4);
  fill_normal<<<1024, 256>>>(rows.as<__nv_bfloat16>(), tokens * ld, 1);
  fill_normal_s8<<<1024, 256>>>(q.as<int8_t>(), tokens * q_columns, 2);
  fill_normal_s8<<<1024, 256>>>(k.as<int8_t>(), tokens * kv_columns, 3);
  fill_constant<<<64, 256>>>(q_scale.as<float>(), tokens * shape.heads, 3.5f / 127.0f);
  fill_constant<<<64, 256>>>(k_scale.as<float>(), k_blocks * shape.kv_heads, 3.5f / 127.0f);
  require(cudaDeviceSynchronize(), "fill");

  const AttentionParams bf16{.q = rows.as<void>(),
                             .k = rows.as<__nv_bfloat16>() + q_columns,
                             .v = rows.as<__nv_bfloat16>() + q_columns + kv_columns,
                             .out = out.as<void>(),
                             .ldq = ld,
                             .ldk = ld,
                             .ldv = ld,
                             .ldo = q_columns,
                             .tokens = shape.tokens,
                             .heads = shape.heads,
                             .kv_heads = shape.kv_heads,
                             .head_dim = shape.head_dim,
                             .causal = shape.causal ? 1 : 0};
  AttentionParams s8 = bf16;
  s8.q = q.as<void>();
  s8.k = k.as<void>();
  s8.q_scale = q_scale.as<float>();
  s8.k_scale = k_scale.as<float>();

  const auto tiles = cuda::sm90a_attention_tiles();
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (tiles[i].head_dim != shape.head_dim) continue;
    const AttentionParams p = tiles[i].s8 ? s8 : bf16;
    candidates.push_back({tiles[i].name, [p, i](cudaStream_t stream) {
                            return cuda::sm90a_attention_with(p, static_cast<int>(i), stream);
                          }});
  }
  const std::vector<Times> times = time_interleaved(candidates, quick ? 5 : 11, quick ? 4 : 8);
  const int k_of_json = (shape.causal ? 1 : 2) * shape.heads * shape.head_dim;
  std::printf("%s, %d tokens\n", shape.name, shape.tokens);
  for (size_t i = 0; i < candidates.size(); ++i) {
    results.add(shape.name, shape.tokens, shape.tokens, k_of_json, candidates[i].name, times[i]);
    std::printf("  %-36s %8.4f ms (%.4f to %.4f) %7.1f TFLOP/s\n", candidates[i].name.c_str(),
                times[i].median_ms, times[i].min_ms, times[i].max_ms,
                tera_per_second(shape.tokens, shape.tokens, k_of_json, times[i].median_ms));
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) {
  using namespace intaglio::bench;
  CheckOptions options;
  if (!read_check_options(argc, argv, options)) return 2;
  const auto [check, bench, quick, json] = options;
  Results results(json, argc, argv);
  Tally tally;
  if (check) {
    tally = check_everything(quick);
    results.set_checks(tally.checked, tally.failed);
    results.write();
  }
  if (bench && tally.failed == 0) {
    results.sample("before");
    for (const Shape& shape : kShapes) {
      time_shape(shape, quick, results);
      results.write();
    }
    results.sample("after");
    results.write();
  }
  return tally.failed == 0 ? 0 : 1;
}
