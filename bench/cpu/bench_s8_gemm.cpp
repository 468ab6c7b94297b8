// int8 linear (row quantization included) against oneDNN: s8 s8 s32 with static column scales and prepacked weights, and bf16.
//
//   bench_s8_gemm [--threads T] [--rounds R] [--shapes 1024x4608x4608,16x1152x384] [--isa avx512vnni] [--out result.json] [--tune-amx] [--cpu-time]
// Shapes are M x N x K. Every round runs every variant once, in turn, so that they see the same clock and the same neighbours; figures are medians over the
// rounds, ratios are medians of the ratios of one round. Rows of the result are compared with the reference before anything is timed.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "ops/cpu/s8_amx_gemm.h"
#include "ops/quantize.h"
#include "ops/s8_gemm.h"

namespace intaglio {
namespace {

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
  bool tune_amx = false;
};

[[noreturn]] void fail(const std::string& message) {
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

// Wall time, or with --cpu-time the processor time of the process: on a busy machine the better figure for one thread.
bool use_cpu_time = false;

double now() {
  timespec t{};
  clock_gettime(use_cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double seconds(const std::function<void()>& call) {
  const double start = now();
  call();
  return now() - start;
}

double median(std::vector<double> values) {
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

void make_problem(const Options& options, const BenchShape& shape, Problem& p) {
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
      p.gemm->scratch_bytes({m, n, k, GemmEpilogue::kNone, DType::kF32}, options.threads) +
      (64 << 20));
  if (!arena) fail(arena.error().message);
  p.arena = std::move(*arena);
}

void quantize(Problem& p, DType in) {
  Context context = p.context;
  context.scratch = &p.arena;
  const void* x = in == DType::kF32 ? static_cast<const void*>(p.x) : p.x_bf16;
  const Status status = quantize_rows(context, {x, in, Shape{p.shape.m, p.shape.k}},
                                      {DType::kI8, p.a, p.shape.m, p.shape.k, p.a_scale});
  if (!status) fail(status.error().message);
}

void multiply(Problem& p, DType out, const S8AmxTuning* tuning = nullptr) {
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
void verify(Problem& p) {
  const auto [m, n, k] = p.shape;
  const S8GemmImplementation& ref = s8_gemm_implementations().back();
  quantize(p, DType::kF32);
  multiply(p, DType::kF32);
  std::vector<int8_t> a(static_cast<size_t>(k));
  std::vector<float> expected(static_cast<size_t>(n));
  for (int64_t row : {int64_t{0}, m / 3, m / 2, m - 1}) {
    float scale = 0.0f;
    quantize_rows_implementations().back().run(Context{}, p.x + row * k, DType::kF32, k, 1, k,
                                               a.data(), &scale);
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

// Times all variants in turn; a timing repeats short calls until it lasts about 2 ms.
void time_variants(std::vector<Variant>& variants, int rounds) {
  std::vector<int> repeats;
  for (Variant& v : variants) {
    v.call();
    v.call();
    const double once = std::max(1e-7, seconds(v.call));
    repeats.push_back(static_cast<int>(std::clamp(2e-3 / once, 1.0, 2000.0)));
  }
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < variants.size(); ++i) {
      const int count = repeats[i];
      variants[i].times.push_back(seconds([&] {
                                    for (int r = 0; r < count; ++r) variants[i].call();
                                  }) /
                                  count);
    }
  }
}

const Variant& find(const std::vector<Variant>& variants, const std::string& name) {
  return *std::find_if(variants.begin(), variants.end(),
                       [&](const Variant& v) { return v.name == name; });
}

double ratio(const Variant& slow, const Variant& fast) {
  std::vector<double> ratios;
  for (size_t i = 0; i < slow.times.size(); ++i) ratios.push_back(slow.times[i] / fast.times[i]);
  return median(ratios);
}

nlohmann::json bench_shape(const Options& options, const BenchShape& shape,
                           const dnnl::engine& engine) {
  Problem p;
  make_problem(options, shape, p);
  verify(p);
  const auto [m, n, k] = shape;

  const std::vector<float> scales(p.w_scale, p.w_scale + n);
  std::vector<AlignedBuffer> floats;
  float* w_float = keep<float>(floats, n * k);
  for (int64_t i = 0; i < n * k; ++i) w_float[i] = p.w[i];
  OnednnMatmul s8_f32(engine, shape, Type::s8, Type::f32, p.a, p.w, Type::s8, scales);
  OnednnMatmul s8_bf16(engine, shape, Type::s8, Type::bf16, p.a, p.w, Type::s8, scales);
  OnednnMatmul bf16_f32(engine, shape, Type::bf16, Type::f32, p.x_bf16, w_float, Type::f32, {});
  OnednnMatmul bf16_bf16(engine, shape, Type::bf16, Type::bf16, p.x_bf16, w_float, Type::f32, {});
  floats.clear();
  // It must compute the same product: one row, up to the activation scale that it does not apply.
  s8_f32.run();
  for (int64_t j = 0; j < n; ++j) {
    const float own = static_cast<float*>(p.out)[(m - 1) * n + j] / p.a_scale[m - 1];
    if (std::abs(own - s8_f32.result()[(m - 1) * n + j]) > 1e-4f * std::abs(own) + 1e-4f)
      fail("oneDNN computes another product");
  }

  std::vector<Variant> variants;
  const auto add = [&](std::string name, std::function<void()> call) {
    variants.push_back({std::move(name), std::move(call), {}});
  };
  add("own f32 -> f32", [&] { quantize(p, DType::kF32), multiply(p, DType::kF32); });
  add("own f32 -> bf16", [&] { quantize(p, DType::kF32), multiply(p, DType::kBF16); });
  add("onednn s8 -> f32", [&] { s8_f32.run(); });
  add("own bf16 -> bf16", [&] { quantize(p, DType::kBF16), multiply(p, DType::kBF16); });
  add("onednn s8 -> bf16", [&] { s8_bf16.run(); });
  add("own bf16 -> f32", [&] { quantize(p, DType::kBF16), multiply(p, DType::kF32); });
  add("onednn bf16 -> f32", [&] { bf16_f32.run(); });
  add("onednn bf16 -> bf16", [&] { bf16_bf16.run(); });
  add("own quantize f32", [&] { quantize(p, DType::kF32); });
  add("own quantize bf16", [&] { quantize(p, DType::kBF16); });
  add("own s8 -> f32", [&] { multiply(p, DType::kF32); });
  add("own s8 -> bf16", [&] { multiply(p, DType::kBF16); });
  time_variants(variants, options.rounds);

  const auto faster = [&](const char* a, const char* b) -> const Variant& {
    return median(find(variants, a).times) <= median(find(variants, b).times) ? find(variants, a)
                                                                              : find(variants, b);
  };
  const Variant& rival_s8 = faster("onednn s8 -> f32", "onednn s8 -> bf16");
  const Variant& rival_bf16 = faster("onednn bf16 -> f32", "onednn bf16 -> bf16");

  nlohmann::json result{{"m", m},
                        {"n", n},
                        {"k", k},
                        {"implementation", p.gemm->name},
                        {"onednn_s8", s8_f32.name()},
                        {"onednn_bf16", bf16_bf16.name()}};
  fmt::print("\n{} x {} x {}   {}   oneDNN s8: {}, bf16: {}\n", m, n, k, p.gemm->name,
             s8_f32.name(), bf16_bf16.name());
  for (const Variant& v : variants) {
    const double time = median(v.times);
    const auto [low, high] = std::minmax_element(v.times.begin(), v.times.end());
    const bool own = v.name.rfind("own", 0) == 0 && v.name.find("quantize") == std::string::npos;
    fmt::print("  {:20} {:10.3f} ms  {:8.1f} GOP/s  [{:.3f}, {:.3f}]", v.name, time * 1e3,
               shape.gop() / time, *low * 1e3, *high * 1e3);
    if (own)
      fmt::print("  x{:.2f} of oneDNN s8, x{:.2f} of oneDNN bf16", ratio(rival_s8, v),
                 ratio(rival_bf16, v));
    fmt::print("\n");
    nlohmann::json entry{{"variant", v.name},
                         {"time_ms", time * 1e3},
                         {"min_ms", *low * 1e3},
                         {"max_ms", *high * 1e3},
                         {"gops", shape.gop() / time}};
    if (own) {
      entry["speedup_over_onednn_s8"] = ratio(rival_s8, v);
      entry["speedup_over_onednn_bf16"] = ratio(rival_bf16, v);
    }
    result["variants"].push_back(std::move(entry));
  }
  std::fflush(stdout);
  return result;
}

// Tries blockings of the AMX kernel; the first line of each shape is the default.
nlohmann::json tune_amx(const Options& options, const BenchShape& shape) {
  Problem p;
  make_problem(options, shape, p);
  if (std::strcmp(p.gemm->name, "amx_s8_gemm") != 0) fail("--tune-amx needs a processor with AMX");
  verify(p);
  std::vector<S8AmxTuning> tunings{{}};
  for (int64_t piece : {4, 8, 12, 16, 24, 80}) {
    for (int64_t rows : {128, 256, 512}) {
      for (int prefetch : {0, 1, 2, 4}) {
        tunings.push_back({.piece_steps = piece,
                           .k_block = 5120,
                           .a_block_bytes = rows * 4608 + 8192,
                           .block_rows = rows,
                           .prefetch_a = prefetch,
                           .prefetch_w = true});
      }
    }
  }
  for (int64_t piece : {8, 16}) tunings.push_back({.piece_steps = piece, .prefetch_w = false});
  for (int64_t k_block : {2560, 16384}) tunings.push_back({.k_block = k_block});
  std::vector<Variant> variants;
  for (const S8AmxTuning& t : tunings) {
    if (s8_amx_scratch_bytes({shape.m, shape.n, shape.k, GemmEpilogue::kNone, DType::kBF16},
                             options.threads, t) > p.arena.capacity())
      continue;
    variants.push_back(
        {fmt::format("piece {} rows {} k_block {} prefetch_a {} prefetch_w {}", t.piece_steps,
                     t.block_rows, t.k_block, t.prefetch_a, t.prefetch_w),
         [&p, t] { multiply(p, DType::kBF16, &t); },
         {}});
  }
  time_variants(variants, std::min(options.rounds, 5));
  fmt::print("\n{} x {} x {}: blockings of amx_s8_gemm, bf16 out, no quantization\n", shape.m,
             shape.n, shape.k);
  std::stable_sort(variants.begin() + 1, variants.end(), [](const Variant& a, const Variant& b) {
    return median(a.times) < median(b.times);
  });
  nlohmann::json result{{"m", shape.m}, {"n", shape.n}, {"k", shape.k}};
  for (const Variant& v : variants) {
    fmt::print("  {:8.3f} ms {:9.1f} GOP/s  {}\n", median(v.times) * 1e3,
               shape.gop() / median(v.times), v.name);
    result["blockings"].push_back({{"name", v.name}, {"time_ms", median(v.times) * 1e3}});
  }
  std::fflush(stdout);
  return result;
}

std::vector<BenchShape> parse_shapes(const std::string& text) {
  std::vector<BenchShape> shapes;
  size_t at = 0;
  while (at < text.size()) {
    const size_t comma = std::min(text.find(',', at), text.size());
    BenchShape s;
    long long m = 0, n = 0, k = 0;
    if (std::sscanf(text.substr(at, comma - at).c_str(), "%lldx%lldx%lld", &m, &n, &k) != 3 ||
        m < 1 || n < 1 || k < 1) {
      fail("a shape is MxNxK, found '" + text.substr(at, comma - at) + "'");
    }
    shapes.push_back({m, n, k});
    at = comma + 1;
  }
  return shapes;
}

Options parse(int argc, char** argv) {
  Options options;
  options.cpu = host_cpu_features();
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) fail(name + " needs a value");
      return argv[++i];
    };
    if (name == "--threads") {
      options.threads = std::max(1, std::atoi(value().c_str()));
    } else if (name == "--rounds") {
      options.rounds = std::max(1, std::atoi(value().c_str()));
    } else if (name == "--shapes") {
      options.shapes = parse_shapes(value());
    } else if (name == "--out") {
      options.out = value();
    } else if (name == "--isa") {
      const auto isa = cpu_isa_from_name(value());
      if (!isa || *isa > options.cpu.isa) fail("--isa: no such level on this processor");
      options.cpu = limit_cpu_features(options.cpu, *isa);
    } else if (name == "--cpu-time") {
      use_cpu_time = true;
    } else if (name == "--tune-amx") {
      options.tune_amx = true;
    } else {
      fail("unknown option " + name);
    }
  }
  return options;
}

}  // namespace
}  // namespace intaglio

int main(int argc, char** argv) {
  using namespace intaglio;
  const Options options = parse(argc, argv);
#if defined(_OPENMP)
  omp_set_num_threads(options.threads);  // oneDNN's threads
#endif
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const dnnl_version_t* version = dnnl_version();
  nlohmann::json report{
      {"cpu", options.cpu.brand},
      {"isa", cpu_isa_name(options.cpu.isa)},
      {"threads", options.threads},
      {"rounds", options.rounds},
      {"clock", use_cpu_time ? "process" : "wall"},
      {"onednn", fmt::format("{}.{}.{}", version->major, version->minor, version->patch)}};
  fmt::print("{}, {}, {} threads, {} rounds, oneDNN {}\n", options.cpu.brand,
             cpu_isa_name(options.cpu.isa), options.threads, options.rounds,
             report["onednn"].get<std::string>());
  for (const BenchShape& shape : options.shapes) {
    if (options.tune_amx) {
      report["tuning"].push_back(tune_amx(options, shape));
    } else {
      report["shapes"].push_back(bench_shape(options, shape, engine));
    }
  }
  if (!options.out.empty()) std::ofstream(options.out) << report.dump(2) << "\n";
  return 0;
}
