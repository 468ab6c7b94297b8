// Blockings of the AMX int8 kernel that the benchmark compares, and the rate of the tile unit
// itself.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "s8_bench.h"

namespace intaglio {

struct NamedTuning {
  std::string name;
  AmxTuning tuning;
};

inline std::string tuning_name(const AmxTuning& t) {
  return fmt::format(
      "groups {} piece {} x {} k_block {} a_kib {} rows {} slice_panels {} pack {} stream {} "
      "prefetch_a "
      "{} prefetch_w {}",
      t.tile_groups, t.piece_steps, t.piece_tiles, t.k_block, t.a_block_bytes >> 10, t.block_rows,
      t.slice_panels, t.pack_a, t.stream_a, t.prefetch_a, t.prefetch_w);
}

// The candidates of docs/kernels/cpu_s8_gemm.md. "rows" is the first version: rows of A as they
// are, pieces of 16 steps.
inline std::vector<NamedTuning> amx_candidates() {
  return {
      {"rows", {.piece_steps = 16, .slice_panels = 8, .pack_a = false}},
      {"piece8", {.piece_steps = 8}},
      {"piece8 stream", {.piece_steps = 8, .stream_a = true}},
      {"piece6 rows128", {.piece_steps = 6, .block_rows = 128}},
      {"piece16 stream", {.piece_steps = 16, .stream_a = true}},
      {"whole stream", {.piece_steps = 1024, .stream_a = true}},
      {"3x2 whole", {.tile_groups = 3, .piece_steps = 1024, .block_rows = 288}},
      {"3x2 whole stream",
       {.tile_groups = 3, .piece_steps = 1024, .block_rows = 288, .stream_a = true}},
  };
}

// A wider search around them.
inline std::vector<NamedTuning> amx_search() {
  std::vector<NamedTuning> all;
  const auto add = [&](const AmxTuning& t) { all.push_back({tuning_name(t), t}); };
  for (int64_t piece : {4, 6, 8, 10, 12, 16, 24, 1024}) {
    add({.piece_steps = piece});
    add({.piece_steps = piece, .block_rows = 128});
    add({.tile_groups = 3, .piece_steps = piece, .block_rows = 288});
    add({.piece_steps = piece, .stream_a = true});
    add({.piece_steps = piece, .block_rows = 128, .stream_a = true});
  }
  for (int64_t piece : {3, 4, 5, 6}) {
    for (int64_t tiles : {2, 3}) {
      add({.piece_steps = piece, .piece_tiles = tiles});
      add({.tile_groups = 3, .piece_steps = piece, .piece_tiles = tiles, .block_rows = 288});
    }
  }
  for (int64_t piece : {8, 1024}) {
    for (int prefetch : {1, 4}) {
      add({.piece_steps = piece, .prefetch_a = prefetch});
      add({.tile_groups = 3, .piece_steps = piece, .block_rows = 288, .prefetch_a = prefetch});
    }
    add({.piece_steps = piece, .prefetch_w = false});
    add({.piece_steps = piece, .pack_a = false});
    add({.tile_groups = 3, .piece_steps = piece, .block_rows = 288, .pack_a = false});
    add({.tile_groups = 3, .piece_steps = piece, .block_rows = 144});
    // More columns share a shallower slice of more rows: the least traffic from L3.
    add({.piece_steps = piece, .k_block = 2304, .block_rows = 384, .slice_panels = 12});
    add({.piece_steps = piece, .k_block = 1536, .block_rows = 512, .slice_panels = 12});
  }
  return all;
}

#if defined(__x86_64__)
// Products of tiles that never leave the registers, G operations a second of each of `threads`
// threads at once. If two threads reach half of one thread's rate each, they share a core.
inline std::vector<double> amx_register_rates(int threads) {
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  std::vector<double> rates(static_cast<size_t>(threads));
  std::atomic<int> ready{0};
  const auto work = [&](int index) {
    const Config config;
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
    ready.fetch_add(1);
    while (ready.load() < threads) {
    }
    constexpr int kRepeats = 1 << 20;
    double best = 0;
    for (int part = 0; part < 4; ++part) {
      const double start = now();
      for (int i = 0; i < kRepeats; ++i) {
        __asm__ volatile(
            "tdpbssd %%tmm6, %%tmm4, %%tmm0\n\ttdpbssd %%tmm6, %%tmm5, %%tmm2\n\t"
            "tdpbssd %%tmm7, %%tmm4, %%tmm1\n\ttdpbssd %%tmm7, %%tmm5, %%tmm3" ::);
      }
      best = std::max(best, 4.0 * 32768 * kRepeats / (now() - start) * 1e-9);
    }
    __asm__ volatile("tilerelease");
    rates[static_cast<size_t>(index)] = best;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& t : others) t.join();
  return rates;
}
#endif

// The whole output of a blocking against that of p.gemm, bit for bit.
inline void verify_tuning(Problem& p, const NamedTuning& named) {
  const size_t bytes = static_cast<size_t>(p.shape.m * p.shape.n) * sizeof(float);
  quantize(p, DType::kF32);
  multiply(p, DType::kF32);
  std::vector<float> expected(static_cast<size_t>(p.shape.m * p.shape.n));
  std::memcpy(expected.data(), p.out, bytes);
  std::memset(p.out, 0xff, bytes);
  multiply(p, DType::kF32, &named.tuning);
  if (std::memcmp(expected.data(), p.out, bytes) != 0)
    fail(fmt::format("{} differs in {}x{}x{}", named.name, p.shape.m, p.shape.n, p.shape.k));
}

// The search on one problem: bf16 out, no quantization; fastest first.
inline nlohmann::json search_amx(Problem& p, const Options& options) {
  std::vector<Variant> variants;
  for (const NamedTuning& named : amx_search()) {
    const AmxTuning t = named.tuning;
    variants.push_back({named.name, [&p, t] { multiply(p, DType::kBF16, &t); }, {}});
  }
  time_variants(variants, std::min(options.rounds, 5), options.max_seconds);
  std::stable_sort(variants.begin(), variants.end(), [](const Variant& a, const Variant& b) {
    return median(a.times) < median(b.times);
  });
  nlohmann::json result;
  for (size_t i = 0; i < variants.size(); ++i) {
    const Variant& v = variants[i];
    const double best = *std::min_element(v.times.begin(), v.times.end());
    if (i < 10)
      fmt::print("  {:8.3f} ms {:9.1f} GOP/s  {}\n", median(v.times) * 1e3,
                 p.shape.gop() / median(v.times), v.name);
    result.push_back(
        {{"blocking", v.name}, {"time_ms", median(v.times) * 1e3}, {"min_ms", best * 1e3}});
  }
  std::fflush(stdout);
  return result;
}

}  // namespace intaglio
