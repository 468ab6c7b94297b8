// What the int8 benchmark is made of: one product with its operands, oneDNN's versions of it,
// timing in turn.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "ops/cpu/s8_amx_gemm.h"
#include "ops/quantize.h"
#include "ops/s8_gemm.h"

namespace intaglio {

struct BenchShape {
  int64_t m = 0, n = 0, k = 0;
  double gop() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) * 1e-9;
  }
};

struct Options {
  int threads = 2;
  int rounds = 15;
  std::vector<BenchShape> shapes{{1024, 4608, 4608}, {1024, 12288, 4608}, {1024, 4608, 12288},
                                 {1, 1152, 384},     {16, 1152, 384},     {77, 1152, 384},
                                 {256, 2048, 384},   {300, 1536, 384},    {256, 384, 1536}};
  CpuFeatures cpu;
  std::string out;
  double max_seconds = 1e9;  // for the timing of one shape
  bool amx = false;          // compare blockings of the AMX kernel: bf16 in and out only
  bool search_amx = false;   // and try many more
};

[[noreturn]] inline void fail(const std::string& message) {
  std::fprintf(stderr, "bench_s8_gemm: %s\n", message.c_str());
  std::exit(1);
}

template <typename T>
T* keep(std::vector<AlignedBuffer>& owner, int64_t count) {
  auto buffer = AlignedBuffer::allocate(static_cast<size_t>(count) * sizeof(T));
  if (!buffer) fail(buffer.error().message);
  owner.push_back(std::move(*buffer));
  return owner.back().as<T>();
}

// Wall time, or with --cpu-time the processor time of the process: on a busy machine the better
// figure for one thread.
inline bool use_cpu_time = false;

inline double now() {
  timespec t{};
  clock_gettime(use_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double seconds(const std::function<void()>& call) {
  const double start = now();
  call();
  return now() - start;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

// One product with everything it needs; variants are closures over it.
struct Problem {
  BenchShape shape;
  std::vector<AlignedBuffer> memory;
  Context context;
  Arena arena;
  const S8GemmImplementation* gemm = nullptr;
  float* x = nullptr;          // [m, k]
  BFloat16* x_bf16 = nullptr;  // [m, k], the same values rounded
  int8_t* w = nullptr;         // [n, k]
  float* w_scale = nullptr;    // [n]
  void* packed = nullptr;
  int8_t* a = nullptr;
  float* a_scale = nullptr;
  void* out = nullptr;  // [m, n] float or bf16
};

inline void make_problem(const Options& options, const BenchShape& shape, Problem& p) {
  p.shape = shape;
  const auto [m, n, k] = shape;
  p.context = {.threads = options.threads, .cpu = options.cpu};
  p.x = keep<float>(p.memory, m * k);
  p.x_bf16 = keep<BFloat16>(p.memory, m * k);
  p.w = keep<int8_t>(p.memory, n * k);
  p.w_scale = keep<float>(p.memory, n);
  p.a = keep<int8_t>(p.memory, m * k);
  p.a_scale = keep<float>(p.memory, m);
  p.out = keep<float>(p.memory, m * n);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < m * k; ++i) {
    p.x_bf16[i] = BFloat16(normal(random));
    p.x[i] = static_cast<float>(p.x_bf16[i]);
  }
  for (int64_t i = 0; i < n * k; ++i) p.w[i] = static_cast<int8_t>(random() % 255) - 127;
  for (int64_t j = 0; j < n; ++j) p.w_scale[j] = 1e-3f * (1.0f + 0.5f * static_cast<float>(j % 7));
  const auto choice = choose_s8_gemm({m, n, k, GemmEpilogue::kNone, DType::kF32}, p.context);
  if (!choice) fail(choice.error().message);
  p.gemm = *choice;
  p.packed = keep<std::byte>(p.memory, static_cast<int64_t>(p.gemm->packed_bytes(n, k)));
  p.gemm->pack(p.w, n, k, p.packed);
  auto arena = Arena::with_capacity(
      p.gemm->scratch_bytes({m, n, k, GemmEpilogue::kNone, DType::kF32}, p.context) + (64 << 20));
  if (!arena) fail(arena.error().message);
  p.arena = std::move(*arena);
}

inline void quantize(Problem& p, DType in) {
  Context context = p.context;
  context.scratch = &p.arena;
  const void* x = in == DType::kF32 ? static_cast<const void*>(p.x) : p.x_bf16;
  const Status status = quantize_rows(context, {x, in, Shape{p.shape.m, p.shape.k}},
                                      {DType::kI8, p.a, p.shape.m, p.shape.k, p.a_scale});
  if (!status) fail(status.error().message);
}

inline void multiply(Problem& p, DType out, const AmxTuning* tuning = nullptr) {
  const auto [m, n, k] = p.shape;
  Context context = p.context;
  context.scratch = &p.arena;
  const S8GemmDesc desc{m, n, k, GemmEpilogue::kNone, out};
  const S8GemmArgs args{.a = p.a,
                        .lda = k,
                        .a_scale_row = p.a_scale,
                        .w_packed = p.packed,
                        .w_scale_col = p.w_scale,
                        .bias = nullptr,
                        .out = p.out,
                        .ldo = n};
  const Status status = tuning ? s8_amx_run(context, desc, args, amx_s8_task, *tuning)
                               : p.gemm->run(context, desc, args);
  if (!status) fail(status.error().message);
}

// Compares some output rows with the reference, bit for bit.
inline void verify(Problem& p) {
  const auto [m, n, k] = p.shape;
  const S8GemmImplementation& ref = s8_gemm_implementations().back();
  quantize(p, DType::kF32);
  multiply(p, DType::kF32);
  std::vector<int8_t> a(static_cast<size_t>(k));
  std::vector<float> expected(static_cast<size_t>(n));
  for (int64_t row : {int64_t{0}, m / 3, m / 2, m - 1}) {
    float scale = 0.0f;
    quantize_rows_implementations().back().run(
        Context{}, {},
        {.x = p.x + row * k, .ldx = k, .rows = 1, .cols = k, .q = a.data(), .scale = &scale});
    const S8GemmArgs args{.a = a.data(),
                          .lda = k,
                          .a_scale_row = &scale,
                          .w_packed = p.w,
                          .w_scale_col = p.w_scale,
                          .bias = nullptr,
                          .out = expected.data(),
                          .ldo = n};
    if (!ref.run(Context{}, {1, n, k, GemmEpilogue::kNone, DType::kF32}, args))
      fail("the reference refused");
    if (std::memcmp(expected.data(), static_cast<float*>(p.out) + row * n, expected.size() * 4) !=
        0) {
      fail(fmt::format("{} differs from the reference in row {} of {}x{}x{}", p.gemm->name, row, m,
                       n, k));
    }
  }
}

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

// A oneDNN matmul with weights in its favourite layout; `scales` empty = none.
class OnednnMatmul {
 public:
  OnednnMatmul(const dnnl::engine& engine, const BenchShape& s, Type in, Type out,
               const void* source, const void* weights, Type weights_type,
               const std::vector<float>& scales)
      : stream_(engine) {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::library);
    if (!scales.empty()) attr.set_output_scales(1 << 1, scales);
    const dnnl::memory::desc src({s.m, s.k}, in, Tag::ab);
    const dnnl::memory::desc any({s.k, s.n}, in, Tag::any);
    const dnnl::memory::desc dst({s.m, s.n}, out, Tag::ab);
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(src, any, dst), attr, engine);
    name_ = pd.impl_info_str();
    primitive_ = dnnl::matmul(pd);
    // The given weights are [n, k].
    dnnl::memory given({{s.k, s.n}, weights_type, Tag::ba}, engine, const_cast<void*>(weights));
    dnnl::memory packed(pd.weights_desc(), engine);
    dnnl::reorder(given, packed).execute(stream_, given, packed);
    stream_.wait();
    result_ = dnnl::memory(dst, engine);
    arguments_ = {{DNNL_ARG_SRC, dnnl::memory(src, engine, const_cast<void*>(source))},
                  {DNNL_ARG_WEIGHTS, packed},
                  {DNNL_ARG_DST, result_}};
  }
  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }
  const std::string& name() const { return name_; }
  const float* result() const { return static_cast<const float*>(result_.get_data_handle()); }

 private:
  dnnl::stream stream_;
  dnnl::matmul primitive_;
  dnnl::memory result_;
  std::string name_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

struct Variant {
  std::string name;
  std::function<void()> call;
  std::vector<double> times;
};

// Times all variants in turn; a timing repeats short calls until it lasts about 2 ms. Stops after
// max_seconds, but not before three rounds.
//
// Threads of the variant before still spin for work when the next one starts, on the same cores: a
// worker of libgomp for 300000 pauses, 15 ms. So run with GOMP_SPINCOUNT=3000, as long as
// ThreadPool spins; a pause of a millisecond sends both to sleep, and a call that is not timed
// wakes those of this variant.
inline void time_variants(std::vector<Variant>& variants, int rounds, double max_seconds = 1e9) {
  const double start = now();
  std::vector<int> repeats;
  for (Variant& v : variants) {
    v.call();
    const double once = std::max(1e-7, seconds(v.call));
    repeats.push_back(static_cast<int>(std::clamp(2e-3 / once, 1.0, 2000.0)));
  }
  for (int round = 0; round < rounds && (round < 3 || now() - start < max_seconds); ++round) {
    for (size_t i = 0; i < variants.size(); ++i) {
      const int count = repeats[i];
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (count > 1) variants[i].call();
      variants[i].times.push_back(seconds([&] {
                                    for (int r = 0; r < count; ++r) variants[i].call();
                                  }) /
                                  count);
    }
  }
}

inline const Variant& find(const std::vector<Variant>& variants, const std::string& name) {
  return *std::find_if(variants.begin(), variants.end(),
                       [&](const Variant& v) { return v.name == name; });
}

inline double ratio(const Variant& slow, const Variant& fast) {
  std::vector<double> ratios;
  for (size_t i = 0; i < slow.times.size(); ++i) ratios.push_back(slow.times[i] / fast.times[i]);
  return median(ratios);
}

}  // namespace intaglio
