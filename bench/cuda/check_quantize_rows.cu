// Checks every CUDA row quantizer against the CPU references, then times each against a copy of the
// same bytes.
//
//   check_quantize_rows [--json PATH] [--commit ID] [--check-only | --time-only]
// Build: nvcc -std=c++20 -O3 -I. -Isrc -gencode arch=compute_90a,code=sm_90a -Xcompiler
// -ffp-contract=off -cudart static bench/cuda/check_quantize_rows.cu
//   src/ops/cuda/launch/{quantize_rows,rotate_quantize_rows}.cu src/quant/rotation.cpp
//   src/ops/ref/quantize.cpp src/core/dtype.cpp
//
// Checks: int8 and scale bits are equal.
// Timing: a graph of launches over as many buffers as exceed four times the L2, 5 warm-up runs and
// 31 measured ones, median of (events / launches). The yardstick is cudaMemcpyAsync device to
// device of the same run, read and write counted: `share` of a 1 GiB copy, `same` of a copy that
// moves as many bytes as the kernel, timed the same way.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "bench/cuda/row_cases.h"
#include "bench/cuda/row_timing.cuh"
#include "ops/cuda/launch/quantize_rows.h"

namespace intaglio::bench {
namespace {

using cuda::QuantizeRowsParams;
using cuda::RowShape;

QuantizeRowsParams params_of(const RowCase& c) {
  QuantizeRowsParams p;
  p.ldx = ldx_of(c);
  p.ldq = ldq_of(c);
  p.rows = c.rows;
  p.cols = c.cols;
  p.group = c.group;
  p.type = c.type;
  p.transform = c.transform;
  return p;
}

std::string describe(const RowCase& c) {
  std::string text = name_of(c.transform, c.group) + " " + name_of(c.type) + " " +
                     std::to_string(c.rows) + "x" + std::to_string(c.cols);
  if (c.gap != 0) text += " gap " + std::to_string(c.gap);
  if (c.shift != 0) text += " shift " + std::to_string(c.shift);
  if (c.padding != 0) text += " padding " + std::to_string(c.padding);
  return text;
}

// q and scale stand between guards; everything is poisoned before the launch.
constexpr size_t kGuard = 256;
constexpr uint8_t kPoison = 0x5a;

RowVerdict check_once(const RowCase& c, const RowData& data, const RowShape* shape) {
  DeviceBuffer x(data.x.size() + 16), q(data.q.size() + 2 * kGuard),
      scale(data.scale.size() * 4 + 2 * kGuard);
  DeviceBuffer smooth(data.smooth.size() * 4);
  x.upload(data.x);
  smooth.upload(data.smooth);
  MUST(cudaMemset(q.as<void>(), kPoison, q.bytes()));
  MUST(cudaMemset(scale.as<void>(), kPoison, scale.bytes()));

  QuantizeRowsParams p = params_of(c);
  p.x = x.as<char>() + c.shift * type_bytes(c.type);
  p.q = q.as<int8_t>() + kGuard;
  p.scale = reinterpret_cast<float*>(scale.as<char>() + kGuard);
  p.smooth = smooth.as<float>();
  RowVerdict verdict;
  if (const char* reason = cuda::quantize_rows_refusal(p)) {
    std::printf("refused: %s\n", reason);
    return verdict;
  }
  MUST(shape == nullptr ? cuda::quantize_rows(p, nullptr)
                        : cuda::detail::quantize_rows_shaped(p, *shape, nullptr));
  MUST(cudaDeviceSynchronize());

  std::vector<uint8_t> q_back(q.bytes()), scale_back(scale.bytes());
  MUST(cudaMemcpy(q_back.data(), q.as<void>(), q.bytes(), cudaMemcpyDeviceToHost));
  MUST(cudaMemcpy(scale_back.data(), scale.as<void>(), scale.bytes(), cudaMemcpyDeviceToHost));
  verdict = judge(data, reinterpret_cast<const int8_t*>(q_back.data() + kGuard),
                  reinterpret_cast<const float*>(scale_back.data() + kGuard));
  for (const auto* back : {&q_back, &scale_back}) {
    for (size_t i = 0; i < kGuard; ++i)
      verdict.outside += ((*back)[i] != kPoison) + ((*back)[back->size() - 1 - i] != kPoison);
  }
  verdict.ok = verdict.ok && verdict.outside == 0;
  return verdict;
}

int pieces_of(const RowCase& c) {
  if (c.transform == RowTransform::kRotate) return static_cast<int>(ldq_of(c) / 16);
  const bool eight = c.transform == RowTransform::kNone && c.type != DType::kF32;
  return static_cast<int>(ldq_of(c) / (eight ? 8 : 4));
}

// Eight pieces of floats: the kernel's own bound.
bool most_is_768(const RowCase& c) { return c.transform != RowTransform::kNone; }

// Every shape the kernels can run the case with, the chosen one first.
std::vector<RowShape> shapes_of(const RowCase& c) {
  const RowShape chosen = cuda::detail::shape_of(params_of(c));
  std::vector<RowShape> shapes = {chosen};
  if (chosen.rows > 1) return shapes;
  const bool rotate = c.transform == RowTransform::kRotate;
  for (int chunks : rotate ? std::vector<int>{1, 2, 3} : std::vector<int>{2, 4, 8}) {
    const int threads =
        cuda::round_up((pieces_of(c) + chunks - 1) / chunks, rotate && c.group > 256 ? 256 : 32);
    if (chunks == chosen.chunks ||
        threads > (rotate                          ? 512
                   : chunks == 8 && most_is_768(c) ? 768
                                                   : 1024) ||
        threads < 64)
      continue;
    shapes.push_back({.threads = threads, .rows = 1, .chunks = chunks});
  }
  if (chosen.chunks != 0)
    shapes.push_back({.threads = rotate ? 512 : 1024, .rows = 1, .chunks = 0});
  return shapes;
}

std::vector<RowCase> check_cases() {
  std::vector<RowCase> cases;
  const auto add = [&](RowCase c) { cases.push_back(c); };
  for (DType type : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (int cols : {1,   2,   7,   8,    15,   16,   24,   31,   64,   100,  248,  256,  264,
                     511, 512, 776, 1000, 1024, 1032, 2048, 2056, 3000, 4095, 4608, 8200, 12288}) {
      add({.type = type, .rows = 35, .cols = cols});
      add({.transform = RowTransform::kSmooth, .type = type, .rows = 21, .cols = cols});
    }
    for (int group : {16, 64, 256, 1024, 4096}) {
      for (int groups : {1, 2, 3, 5, 13, 18}) {
        if (group * groups > 53248) continue;
        add({.transform = RowTransform::kRotate,
             .type = type,
             .rows = 19,
             .cols = group * groups,
             .group = group});
      }
      add({.transform = RowTransform::kRotate,
           .type = type,
           .rows = 17,
           .cols = 8192,
           .group = group,
           .gap = 3,
           .shift = 1});
      add({.transform = RowTransform::kRotate,
           .type = type,
           .rows = 17,
           .cols = 12288,
           .group = group,
           .gap = 8,
           .padding = 32});
      add({.transform = RowTransform::kRotate,
           .type = type,
           .rows = 17,
           .cols = 53248,
           .group = group});
    }
    for (RowTransform transform : {RowTransform::kNone, RowTransform::kSmooth}) {
      add({.transform = transform, .type = type, .rows = 17, .cols = 4608, .gap = 1});
      add({.transform = transform, .type = type, .rows = 17, .cols = 4608, .shift = 1});
      add({.transform = transform,
           .type = type,
           .rows = 17,
           .cols = 4608,
           .gap = 24,
           .padding = 48});
      add({.transform = transform, .type = type, .rows = 17, .cols = 333, .padding = 4096});
      add({.transform = transform, .type = type, .rows = 19, .cols = 53248});
      add({.transform = transform, .type = type, .rows = 19, .cols = 53247});
    }
    for (int rows : {1, 2, 3, 5, 130, 1027, 5000}) add({.type = type, .rows = rows, .cols = 520});
  }
  for (RowTransform transform : {RowTransform::kNone, RowTransform::kSmooth}) {
    add({.transform = transform, .rows = 4608, .cols = 4608});
    add({.transform = transform, .rows = 4608, .cols = 12288});
    add({.transform = transform, .rows = 512, .cols = 53248});
  }
  add({.transform = RowTransform::kRotate, .rows = 4608, .cols = 4608, .group = 256});
  add({.transform = RowTransform::kRotate, .rows = 4608, .cols = 12288, .group = 4096});
  add({.transform = RowTransform::kRotate, .rows = 512, .cols = 53248, .group = 256});
  return cases;
}

// Arguments that must be refused, and rows = 0, which must not be.
int check_refusals() {
  DeviceBuffer memory(1 << 16);
  QuantizeRowsParams good = params_of({.rows = 4, .cols = 64});
  good.x = memory.as<char>();
  good.q = memory.as<int8_t>() + 8192;
  good.scale = memory.as<float>();
  const std::vector<std::function<void(QuantizeRowsParams&)>> spoil = {
      [](auto& p) { p.ldq = 72; },
      [](auto& p) { p.ldq = 48; },
      [](auto& p) { p.ldx = 63; },
      [](auto& p) { p.q += 8; },
      [](auto& p) { p.cols = 0; },
      [](auto& p) { p.rows = -1; },
      [](auto& p) { p.x = nullptr; },
      [](auto& p) { p.transform = RowTransform::kSmooth; },
      [](auto& p) { p.transform = RowTransform::kRotate, p.group = 128; },
      [](auto& p) { p.transform = RowTransform::kRotate, p.group = 256; },
      [](auto& p) { p.x = static_cast<const char*>(p.x) + 1; },
  };
  int failures = 0;
  for (size_t i = 0; i < spoil.size(); ++i) {
    QuantizeRowsParams p = good;
    spoil[i](p);
    if (cuda::quantize_rows(p, nullptr) != cudaErrorInvalidValue) {
      std::printf("FAIL bad arguments %zu were taken\n", i);
      ++failures;
    }
  }
  QuantizeRowsParams none = good;
  none.rows = 0;
  if (cuda::quantize_rows(none, nullptr) != cudaSuccess) ++failures;
  return failures;
}

int check_all(int& checked) {
  int failures = check_refusals();
  for (const RowCase& c : check_cases()) {
    const RowData data = make_rows(c);
    std::vector<RowShape> shapes = shapes_of(c);
    if (c.rows > 1000 && c.cols > 1000) shapes.resize(1);  // the other shapes run on smaller cases
    for (size_t s = 0; s < shapes.size(); ++s) {
      const RowVerdict v = check_once(c, data, s == 0 ? nullptr : &shapes[s]);
      ++checked;
      if (v.ok) continue;
      failures += !v.ok;
      std::printf(
          "%s %s (%d threads, %d chunks): %lld integers differ (%.2g), %lld by more than a step; "
          "scales: %lld differ, "
          "by up to %.2g, %lld NaN; %lld bytes outside\n",
          v.ok ? "ok  " : "FAIL", describe(c).c_str(), shapes[s].threads, shapes[s].chunks,
          static_cast<long long>(v.q_off),
          static_cast<double>(v.q_off) / (static_cast<double>(c.rows) * c.cols),
          static_cast<long long>(v.q_far), static_cast<long long>(v.scale_off),
          static_cast<double>(v.scale_far), static_cast<long long>(v.nan_off),
          static_cast<long long>(v.outside));
      std::fflush(stdout);
    }
  }
  return failures;
}

// --- timing ---

// Bytes a launch must move; vectors of the columns once.
double bytes_moved(const RowCase& c) {
  double bytes = static_cast<double>(c.rows) * (static_cast<double>(c.cols) * type_bytes(c.type) +
                                                static_cast<double>(ldq_of(c)) + 4.0);
  if (c.transform == RowTransform::kSmooth) bytes += 4.0 * c.cols;
  return bytes;
}

struct Run {
  RowCase c;
  RowShape shape;
  bool chosen;
  Timing time, copy;
  double gbs, share, same;
};

std::vector<RowCase> timed_cases() {
  std::vector<RowCase> cases;
  const auto add = [&](RowCase c) { cases.push_back(c); };
  const std::pair<int, int> sizes[] = {{4608, 4608}, {4608, 12288}, {512, 53248}};
  for (auto [rows, cols] : sizes) {
    for (DType type : {DType::kBF16, DType::kF16, DType::kF32})
      add({.type = type, .rows = rows, .cols = cols});
    add({.transform = RowTransform::kSmooth, .rows = rows, .cols = cols});
    for (int group : {16, 64, 256, 1024, 4096}) {
      if (cols % group == 0)
        add({.transform = RowTransform::kRotate, .rows = rows, .cols = cols, .group = group});
    }
  }
  add({.rows = 4608, .cols = 512});
  add({.rows = 65536, .cols = 512});
  add({.rows = 16384, .cols = 1024});
  add({.rows = 4600, .cols = 4604});  // ragged
  add({.rows = 1024, .cols = 4608});
  return cases;
}

std::vector<Run> time_all(double copy_gbs) {
  std::vector<Run> runs;
  std::printf("%-24s %-5s %12s %7s %6s %9s %19s %8s %6s %6s\n", "variant", "type", "size",
              "threads", "chunks", "us", "min to max", "GB/s", "share", "same");
  for (const RowCase& c : timed_cases()) {
    const double bytes = bytes_moved(c);
    const int sets = sets_for(bytes);
    std::vector<DeviceBuffer> x, q;
    DeviceBuffer scale(static_cast<size_t>(c.rows) * 4), smooth(static_cast<size_t>(c.cols) * 4);
    smooth.upload(std::vector<float>(static_cast<size_t>(c.cols), 1.25f));
    const int64_t count = c.rows * ldx_of(c);
    for (int i = 0; i < sets; ++i) {
      x.emplace_back(static_cast<size_t>(count * type_bytes(c.type)));
      q.emplace_back(static_cast<size_t>(c.rows * ldq_of(c)));
      fill_random<<<1024, 256>>>(x.back().as<void>(), count, c.type == DType::kF32);
    }
    MUST(cudaDeviceSynchronize());
    const Timing copy = time_copy(bytes);
    const std::vector<RowShape> shapes = shapes_of(c);
    for (size_t s = 0; s < shapes.size(); ++s) {
      QuantizeRowsParams p = params_of(c);
      p.scale = scale.as<float>();
      p.smooth = smooth.as<float>();
      const Timing time = time_graph(sets, [&](int i, cudaStream_t stream) {
        p.x = x[static_cast<size_t>(i)].as<void>();
        p.q = q[static_cast<size_t>(i)].as<int8_t>();
        MUST(cuda::detail::quantize_rows_shaped(p, shapes[s], stream));
      });
      Run run{c,      shapes[s],
              s == 0, time,
              copy,   bytes / time.median_us * 1e-3,
              0,      copy.median_us / time.median_us};
      run.share = run.gbs / copy_gbs;
      const std::string size = std::to_string(c.rows) + "x" + std::to_string(c.cols);
      std::printf("%-24s %-5s %12s %7d %6d %9.2f %9.2f %9.2f %8.0f %6.3f %6.3f%s\n",
                  name_of(c.transform, c.group).c_str(), name_of(c.type), size.c_str(),
                  run.shape.threads, run.shape.chunks, time.median_us, time.min_us, time.max_us,
                  run.gbs, run.share, run.same,
                  run.chosen ? (run.share >= 0.85 ? "  *" : "  * below 0.85") : "");
      std::fflush(stdout);
      runs.push_back(run);
    }
  }
  return runs;
}

void write_json(const char* path, const char* commit, const cudaDeviceProp& device, int driver,
                int checked, int failures, const Timing& big_copy, double copy_gbs,
                const std::vector<Run>& runs) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path);
    std::exit(2);
  }
  std::fprintf(file,
               "{\n  \"bench\": \"quantize_rows\", \"commit\": \"%s\", \"device\": \"%s\", \"sm\": "
               "%d, \"cuda_driver\": %d, \"cuda_runtime\": %d,\n"
               "  \"method\": \"graph of launches over rotating buffers above 4 times the L2, 5 "
               "warm-ups, 31 samples, median\",\n"
               "  \"checked\": %d, \"failed\": %d,\n"
               "  \"copy_1gib\": {\"median_us\": %.2f, \"min_us\": %.2f, \"max_us\": %.2f, "
               "\"gb_s\": %.1f},\n  \"runs\": [\n",
               commit, device.name, device.major * 10 + device.minor, driver, CUDART_VERSION,
               checked, failures, big_copy.median_us, big_copy.min_us, big_copy.max_us, copy_gbs);
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& r = runs[i];
    std::fprintf(
        file,
        "    {\"variant\": \"%s\", \"type\": \"%s\", \"rows\": %d, \"cols\": %d, \"threads\": %d, "
        "\"chunks\": %d, \"chosen\": %s, "
        "\"median_us\": %.3f, \"min_us\": %.3f, \"max_us\": %.3f, \"bytes\": %.0f, \"gb_s\": %.1f, "
        "\"share_of_copy\": %.4f, \"share_of_same_size_copy\": %.4f}%s\n",
        name_of(r.c.transform, r.c.group).c_str(), name_of(r.c.type), r.c.rows, r.c.cols,
        r.shape.threads, r.shape.chunks, r.chosen ? "true" : "false", r.time.median_us,
        r.time.min_us, r.time.max_us, bytes_moved(r.c), r.gbs, r.share, r.same,
        i + 1 < runs.size() ? "," : "");
  }
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

int run(int argc, char** argv) {
  const char* json = nullptr;
  const char* commit = "";
  bool check = true, timing = true;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (option == "--commit" && i + 1 < argc) {
      commit = argv[++i];
    } else if (option == "--check-only") {
      timing = false;
    } else if (option == "--time-only") {
      check = false;
    } else {
      std::fprintf(stderr, "usage: %s [--json PATH] [--commit ID] [--check-only | --time-only]\n",
                   argv[0]);
      return 2;
    }
  }
  cudaDeviceProp device{};
  int driver = 0;
  MUST(cudaGetDeviceProperties(&device, 0));
  MUST(cudaDriverGetVersion(&driver));
  l2_bytes = static_cast<size_t>(device.l2CacheSize);
  std::printf("%s, sm_%d%d, %d SMs, L2 %d MiB, driver %d\n", device.name, device.major,
              device.minor, device.multiProcessorCount, device.l2CacheSize >> 20, driver);

  int checked = 0, failures = 0;
  if (check) {
    failures = check_all(checked);
    std::printf("%d checks, %d failed\n", checked, failures);
  }
  Timing big_copy;
  double copy_gbs = 0;
  std::vector<Run> runs;
  if (timing) {
    constexpr double kBytes = 2.0 * (1 << 30);
    big_copy = time_copy(kBytes);
    copy_gbs = kBytes / big_copy.median_us * 1e-3;
    std::printf("copy of 1 GiB: %.1f us (%.1f to %.1f), %.0f GB/s read + write\n",
                big_copy.median_us, big_copy.min_us, big_copy.max_us, copy_gbs);
    runs = time_all(copy_gbs);
  }
  if (json != nullptr)
    write_json(json, commit, device, driver, checked, failures, big_copy, copy_gbs, runs);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) { return intaglio::bench::run(argc, argv); }
