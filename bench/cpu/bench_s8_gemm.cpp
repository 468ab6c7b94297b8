// int8 linear (row quantization included) against oneDNN: s8 s8 s32 with static column scales and
// prepacked weights, and bf16.
//
//   bench_s8_gemm [--threads T] [--rounds R] [--shapes 1024x4608x4608,16x1152x384] [--isa
//   avx512vnni] [--out result.json] [--amx] [--search-amx] [--max-seconds S] [--cpu-time] Shapes
//   are M x N x K. Every round runs every variant once, in turn, so that they see the same clock
//   and the same neighbours; figures are medians over the rounds, ratios are medians of the ratios
//   of one round. Rows of the result are compared with the reference before anything is timed.
// --amx compares blockings of the AMX kernel (amx_candidates in s8_bench_amx.h), --search-amx tries
// many more of large shapes, --max-seconds bounds the timing of a shape.
#include <fstream>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "s8_bench.h"
#include "s8_bench_amx.h"

namespace intaglio {
namespace {

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
  // With --amx the arena, which was sized for the default blocking, serves all.
  const std::vector<NamedTuning> tunings =
      options.amx && p.gemm->name == std::string_view("amx_s8_gemm") ? amx_candidates()
                                                                     : std::vector<NamedTuning>{};
  for (const NamedTuning& named : tunings) verify_tuning(p, named);
  add("onednn s8 -> bf16", [&] { s8_bf16.run(); });
  add("own bf16 -> bf16", [&] { quantize(p, DType::kBF16), multiply(p, DType::kBF16); });
  for (const NamedTuning& named : tunings) {
    add("own " + named.name,
        [&p, &named] { quantize(p, DType::kBF16), multiply(p, DType::kBF16, &named.tuning); });
  }
  add("onednn s8 -> f32", [&] { s8_f32.run(); });
  add("onednn bf16 -> bf16", [&] { bf16_bf16.run(); });
  add("own quantize bf16", [&] { quantize(p, DType::kBF16); });
  add("own s8 -> bf16", [&] { multiply(p, DType::kBF16); });
  if (!options.amx) {
    add("own bf16 -> f32", [&] { quantize(p, DType::kBF16), multiply(p, DType::kF32); });
    add("own f32 -> f32", [&] { quantize(p, DType::kF32), multiply(p, DType::kF32); });
    add("own f32 -> bf16", [&] { quantize(p, DType::kF32), multiply(p, DType::kBF16); });
    add("onednn bf16 -> f32", [&] { bf16_f32.run(); });
    add("own quantize f32", [&] { quantize(p, DType::kF32); });
    add("own s8 -> f32", [&] { multiply(p, DType::kF32); });
  }
  time_variants(variants, options.rounds, options.max_seconds);

  const auto faster = [&](const char* a, const char* b) -> const Variant& {
    return median(find(variants, a).times) <= median(find(variants, b).times) ? find(variants, a)
                                                                              : find(variants, b);
  };
  const Variant& rival_s8 = faster("onednn s8 -> f32", "onednn s8 -> bf16");
  const Variant& rival_bf16 = options.amx ? find(variants, "onednn bf16 -> bf16")
                                          : faster("onednn bf16 -> f32", "onednn bf16 -> bf16");

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
    fmt::print("  {:22} {:10.3f} ms  {:8.1f} GOP/s  [{:.3f}, {:.3f}]", v.name, time * 1e3,
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
  if (options.search_amx && !tunings.empty() && shape.gop() > 10)
    result["search"] = search_amx(p, options);
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
    } else if (name == "--amx") {
      options.amx = true;
    } else if (name == "--search-amx") {
      options.amx = options.search_amx = true;
    } else if (name == "--max-seconds") {
      options.max_seconds = std::atof(value().c_str());
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
#if defined(__x86_64__)
  if (options.amx && options.cpu.isa == CpuIsa::kAmx) {
    report["tile_unit_gops_of_one_thread"] = amx_register_rates(1);
    report["tile_unit_gops_of_each_thread"] = amx_register_rates(options.threads);
    fmt::print("tile unit, registers only: one thread {:.0f} GOP/s, {} threads at once {}\n",
               report["tile_unit_gops_of_one_thread"][0].get<double>(), options.threads,
               report["tile_unit_gops_of_each_thread"].dump());
  }
#endif
  // Written shape by shape, so that a run that is cut short leaves what it has.
  for (const BenchShape& shape : options.shapes) {
    report["shapes"].push_back(bench_shape(options, shape, engine));
    if (!options.out.empty()) std::ofstream(options.out) << report.dump(2) << "\n";
  }
  return 0;
}
