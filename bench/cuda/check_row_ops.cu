// Times the passes over rows and pictures (norms, residuals, q and k, elementwise, group norm) at
// the sizes of the models, after those over flat arrays were checked where arrays begin out of
// line. All else of them is checked by the tests that walk the ops' lists (tests/ops,
// intaglio_gpu_tests).
//
//   check_row_ops [--json PATH] [--commit ID] [--check-only | --bench-only]
// Build: nvcc -std=c++20 -O3 -I. -Isrc -Ibench/cuda -gencode arch=compute_90a,code=sm_90a
// -Xcompiler -ffp-contract=off -cudart static bench/cuda/check_row_ops.cu
//   src/ops/cuda/launch/{norm_rows,qk_norm_rope,elementwise,euler_step,group_norm}.cu
//   src/core/dtype.cpp
//
// Timing: a graph of launches over as many buffers as exceed four times the L2, 5 warm-up runs and
// 31 measured ones, median of (events / launches). `share` is of a device copy of 1 GiB, read and
// write counted; the bytes of a pass are those it must move, each input once and each output once.
#include <cuda_runtime.h>

#include <memory>

#include "bench_report.h"
#include "elementwise_checks.cuh"
#include "ops/cuda/launch/group_norm.h"
#include "ops/cuda/launch/norm_rows.h"
#include "ops/cuda/launch/qk_norm_rope.h"

namespace intaglio::bench {
namespace {

using cuda::RowNormKind;
using cuda::RowUpdate;

// One pass at one size: `bytes` it must move, `enqueue(i, stream)` on buffers of set i.
struct Pass {
  std::string name, size;
  double bytes;
  std::function<cudaError_t(size_t, cudaStream_t)> enqueue;
};

struct Run {
  std::string name, size;
  double bytes;
  Timing time;
  double gb_s, share;
};

// As many arrays of random numbers as there are sets; type bytes 4 is float, 2 bf16, 1 left as it
// comes.
class Arrays {
 public:
  Arrays(int sets, int64_t count, int type_bytes) {
    for (int i = 0; i < sets; ++i) {
      memory_.emplace_back(static_cast<size_t>(count * type_bytes));
      if (type_bytes > 1)
        fill_random<<<1024, 256>>>(memory_.back().as<void>(), count, type_bytes == 4);
    }
    MUST(cudaDeviceSynchronize());
  }
  template <typename T>
  T* at(size_t set) const {
    return memory_[set].template as<T>();
  }

 private:
  std::vector<DeviceBuffer> memory_;
};

class Bench {
 public:
  explicit Bench(double copy_gb_s) : copy_gb_s_(copy_gb_s) {
    std::printf("%-34s %-16s %9s %19s %8s %6s\n", "pass", "size", "us", "min to max", "GB/s",
                "share");
  }

  void time(const Pass& pass) {
    const int sets = sets_for(pass.bytes);
    const Timing t = time_graph(sets, [&](int i, cudaStream_t stream) {
      MUST(pass.enqueue(static_cast<size_t>(i), stream));
    });
    const double gb_s = pass.bytes / t.median_us * 1e-3;
    runs_.push_back({pass.name, pass.size, pass.bytes, t, gb_s, gb_s / copy_gb_s_});
    std::printf("%-34s %-16s %9.2f %9.2f %9.2f %8.0f %6.3f%s\n", pass.name.c_str(),
                pass.size.c_str(), t.median_us, t.min_us, t.max_us, gb_s, gb_s / copy_gb_s_,
                gb_s / copy_gb_s_ < 0.85 ? "  below 0.85" : "");
    std::fflush(stdout);
  }
  const std::vector<Run>& runs() const { return runs_; }

 private:
  double copy_gb_s_;
  std::vector<Run> runs_;
};

std::string size_of(int64_t rows, int64_t cols) {
  return std::to_string(rows) + "x" + std::to_string(cols);
}

const char* name_of(DType type) {
  return type == DType::kF32 ? "f32" : type == DType::kBF16 ? "bf16" : "int8";
}
int bytes_of(DType type) { return type == DType::kF32 ? 4 : type == DType::kBF16 ? 2 : 1; }

void time_norms(Bench& bench, int64_t rows, int64_t cols, RowUpdate update, DType y_type,
                RowNormKind kind, DType out_type) {
  const bool updates = update != RowUpdate::kNone;
  const int y_bytes = updates ? (y_type == DType::kBF16 ? 2 : 4) : 0;
  const double bytes =
      static_cast<double>(rows * cols) * (4 + y_bytes + (updates ? 4 : 0) + bytes_of(out_type));
  const int sets = sets_for(bytes);
  const Arrays h(sets, rows * cols, 4), y(sets, updates ? rows * cols : 1, updates ? y_bytes : 4),
      out(sets, rows * cols, bytes_of(out_type)), vectors(4, cols, 4), scale(1, rows, 4);
  cuda::ResidualRowsParams p;
  p.update = update;
  p.y_type = y_type;
  p.weight = vectors.at<float>(0);
  p.gate = vectors.at<float>(1);
  p.eps = 1e-6f;
  p.rows = rows;
  p.cols = cols;
  p.next.kind = kind;
  p.next.out_type = out_type;
  p.next.eps = 1e-6f;
  p.next.weight = vectors.at<float>(2);
  p.next.modulation = vectors.at<float>(3);
  p.next.scale = scale.at<float>(0);
  const char* const what = update == RowUpdate::kNone  ? "norm"
                           : update == RowUpdate::kAdd ? "add + norm"
                                                       : "gated + norm";
  bench.time({std::string(what) + (kind == RowNormKind::kRms ? " rms " : " layer ") +
                  (y_bytes == 2   ? "y bf16 "
                   : y_bytes == 4 ? "y f32 "
                                  : "") +
                  name_of(out_type),
              size_of(rows, cols), bytes, [&](size_t i, cudaStream_t stream) {
                cuda::ResidualRowsParams q = p;
                q.h = h.at<float>(i);
                q.y = y.at<void>(i);
                q.next.out = out.at<void>(i);
                return updates ? cuda::residual_rows(q, stream)
                               : cuda::norm_rows({q.h, rows, cols, q.next}, stream);
              }});
}

void time_qk(Bench& bench, int64_t tokens, int heads, int kv_heads, int d, bool int8) {
  const int64_t ld = int64_t{heads + 2 * kv_heads} * d;
  const double q = static_cast<double>(tokens) * heads * d,
               k = static_cast<double>(tokens) * kv_heads * d;
  const double bytes = int8 ? 3 * q + 7 * k : 4 * (q + k);
  const int sets = sets_for(bytes);
  const Arrays x(sets, tokens * ld, 2), q8(sets, tokens * heads * d, 1),
      k8(sets, tokens * kv_heads * d, 1), scales(2, tokens * heads, 4), weights(2, d, 4),
      angles(2, tokens * d / 2, 4);
  cuda::QkNormRopeParams p;
  p.ld = ld;
  p.q_weight = weights.at<float>(0);
  p.k_weight = weights.at<float>(1);
  p.cos = angles.at<float>(0);
  p.sin = angles.at<float>(1);
  p.eps = 1e-6f;
  p.tokens = tokens;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = d;
  if (int8)
    p.q8 = q8.at<int8_t>(0), p.q_scale = scales.at<float>(0), p.k_scale = scales.at<float>(1);
  const DeviceBuffer workspace(cuda::qk_norm_rope_workspace_bytes(p));
  p.workspace = workspace.as<void>();
  bench.time({std::string("qk_norm_rope bf16 ") + (int8 ? "int8" : "in place"),
              std::to_string(tokens) + "x(" + std::to_string(heads) + "+" +
                  std::to_string(kv_heads) + ")x" + std::to_string(d),
              bytes, [&](size_t i, cudaStream_t stream) {
                cuda::QkNormRopeParams one = p;
                one.q = x.at<BFloat16>(i);
                one.k = x.at<BFloat16>(i) + heads * d;
                if (int8) one.q8 = q8.at<int8_t>(i), one.k8 = k8.at<int8_t>(i);
                return cuda::qk_norm_rope(one, stream);
              }});
}

void time_group_norm(Bench& bench, int64_t pixels, int channels, DType type, bool silu) {
  const int type_bytes = type == DType::kF32 ? 4 : 2;
  const double bytes = 3.0 * type_bytes * static_cast<double>(pixels) * channels;
  const int sets = sets_for(bytes);
  const Arrays x(sets, pixels * channels, type_bytes), y(sets, pixels * channels, 1 * type_bytes),
      vectors(2, channels, 4);
  cuda::GroupNormParams p;
  p.weight = vectors.at<float>(0);
  p.bias = vectors.at<float>(1);
  p.pixels = pixels;
  p.channels = channels;
  p.groups = 32;
  p.eps = 1e-6f;
  p.silu = silu;
  p.type = type;
  const DeviceBuffer workspace(cuda::group_norm_workspace_bytes(p));
  p.workspace = workspace.as<void>();
  bench.time(
      {std::string("group_norm ") + (type_bytes == 2 ? "bf16" : "f32") + (silu ? " silu" : ""),
       size_of(pixels, channels), bytes, [&](size_t i, cudaStream_t stream) {
         cuda::GroupNormParams one = p;
         one.x = x.at<void>(i);
         one.y = y.at<void>(i);
         return cuda::group_norm(one, stream);
       }});
}

void time_elementwise(Bench& bench) {
  constexpr int64_t kRows = 4608, kCols = 4608, kCount = kRows * kCols, kWide = 12288;
  {
    const int sets = sets_for(6.0 * kCount);
    const Arrays x(sets, kCount, 4), half(sets, kCount, 2), v(sets, kCount, 4);
    bench.time({"convert f32 to bf16", size_of(kRows, kCols), 6.0 * kCount,
                [&](size_t i, cudaStream_t stream) {
                  return cuda::convert_elements(x.at<float>(i), DType::kF32, half.at<void>(i),
                                                DType::kBF16, kCount, stream);
                }});
    bench.time({"convert bf16 to f32", size_of(kRows, kCols), 6.0 * kCount,
                [&](size_t i, cudaStream_t stream) {
                  return cuda::convert_elements(half.at<void>(i), DType::kBF16, x.at<float>(i),
                                                DType::kF32, kCount, stream);
                }});
    bench.time(
        {"add bf16", size_of(kRows, kCols), 10.0 * kCount, [&](size_t i, cudaStream_t stream) {
           return cuda::add_in_place(x.at<float>(i), half.at<void>(i), DType::kBF16, kCount,
                                     stream);
         }});
    bench.time({"euler step, guided", size_of(kRows, kCols), 16.0 * kCount,
                [&](size_t i, cudaStream_t stream) {
                  cuda::EulerStepParams p;
                  p.v = {{v.at<float>(i), v.at<float>((i + 1) % 3)}, {4.5f, -3.5f}, 2, kCount};
                  p.x = x.at<float>(i);
                  p.delta = -0.037f;
                  return cuda::euler_step(p, stream);
                }});
  }
  {
    const double bytes = 6.0 * kRows * kWide;
    const int sets = sets_for(bytes);
    const Arrays x(sets, 2 * kRows * kWide, 2), out(sets, kRows * kWide, 2);
    bench.time(
        {"swiglu bf16", size_of(kRows, kWide), bytes, [&](size_t i, cudaStream_t stream) {
           return cuda::epilogue_rows({x.at<void>(i), out.at<void>(i), kRows, kWide}, stream);
         }});
  }
  for (const auto& [rows, cols, half] : {std::tuple<int64_t, int64_t, bool>{4096, 4096, true},
                                         {16384, 16384, true},
                                         {16384, 16384, false},
                                         {4096, 65536, true}}) {
    const double bytes = (half ? 6.0 : 8.0) * static_cast<double>(rows * cols);
    const int sets = sets_for(bytes);
    const Arrays x(sets, rows * cols, 4), out(sets, rows * cols, half ? 2 : 4);
    bench.time({half ? "softmax to bf16" : "softmax to f32", size_of(rows, cols), bytes,
                [&](size_t i, cudaStream_t stream) {
                  return cuda::softmax_rows({x.at<float>(i), out.at<void>(i), rows, cols, 0.044f,
                                             half ? DType::kBF16 : DType::kF32},
                                            stream);
                }});
  }
  {
    constexpr int64_t kTokens = 512, kHidden = 4096;
    const double bytes = 8.0 * kTokens * kHidden;
    const int sets = sets_for(bytes);
    const Arrays h(sets, kTokens * kHidden, 4), features(3, kTokens * kHidden * 13, 4);
    bench.time(
        {"scatter_tap 13", size_of(kTokens, kHidden), bytes, [&](size_t i, cudaStream_t stream) {
           return cuda::scatter_tap(
               {h.at<float>(i), features.at<float>(i % 3), kTokens, kHidden, 13 * kHidden, 13, 5},
               stream);
         }});
  }
  {
    constexpr int64_t kSide = 1024;
    const double bytes = 36.0 * kSide * kSide;
    const int sets = sets_for(bytes);
    const Arrays tile(sets, 3 * kSide * kSide, 4), picture(sets, 3 * kSide * kSide, 4),
        shares(2, kSide, 4);
    bench.time({"blend picture", size_of(kSide, kSide), bytes, [&](size_t i, cudaStream_t stream) {
                  return cuda::place_picture(
                      {tile.at<float>(i), picture.at<float>(i), shares.at<float>(0),
                       shares.at<float>(1), kSide, kSide, kSide, kSide},
                      stream);
                }});
  }
}

void time_all(Bench& bench) {
  for (DType out : {DType::kI8, DType::kBF16}) {
    for (DType y : {DType::kBF16, DType::kF32})
      time_norms(bench, 4608, 4608, RowUpdate::kGated, y, RowNormKind::kRms, out);
    time_norms(bench, 4608, 4608, RowUpdate::kNone, DType::kF32, RowNormKind::kRms, out);
    time_norms(bench, 4608, 4608, RowUpdate::kNone, DType::kF32, RowNormKind::kLayer, out);
    time_norms(bench, 512, 4096, RowUpdate::kAdd, DType::kBF16, RowNormKind::kRms, out);
    time_norms(bench, 512, 4096, RowUpdate::kNone, DType::kF32, RowNormKind::kRms, out);
    time_norms(bench, 512, 53248, RowUpdate::kNone, DType::kF32, RowNormKind::kRms, out);
  }
  time_norms(bench, 4608, 12288, RowUpdate::kGated, DType::kBF16, RowNormKind::kRms, DType::kI8);
  for (bool int8 : {false, true}) {
    time_qk(bench, 4608, 18, 18, 256, int8);
    time_qk(bench, 4608, 36, 36, 128, int8);
    time_qk(bench, 512, 32, 8, 128, int8);
  }
  time_elementwise(bench);
  for (bool silu : {true, false}) {
    time_group_norm(bench, 128 * 128, 512, DType::kBF16, silu);
    time_group_norm(bench, 512 * 512, 512, DType::kBF16, silu);
    time_group_norm(bench, 1024 * 1024, 128, DType::kBF16, silu);
  }
  time_group_norm(bench, 512 * 512, 256, DType::kF32, true);
}

void write_json(const char* path, const char* commit, const cudaDeviceProp& device, int driver,
                const Verdicts& verdicts, double copy_gb_s, const std::vector<Run>& runs) {
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path);
    std::exit(2);
  }
  std::fprintf(file,
               "{\n  \"bench\": \"row_ops\", \"commit\": %s, \"device\": %s, \"sm\": %d, "
               "\"cuda_driver\": %d, \"cuda_runtime\": %d,\n"
               "  \"method\": \"graph of launches over rotating buffers above 4 times the L2, 5 "
               "warm-ups, 31 samples, median\",\n"
               "  \"checked\": %d, \"failed\": %d, \"copy_gb_s\": %.1f,\n  \"runs\": [\n",
               json_string(commit).c_str(), json_string(device.name).c_str(),
               device.major * 10 + device.minor, driver, CUDART_VERSION, verdicts.checked(),
               verdicts.failed(), copy_gb_s);
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& r = runs[i];
    std::fprintf(file,
                 "    {\"pass\": %s, \"size\": %s, \"median_us\": %.3f, \"min_us\": %.3f, "
                 "\"max_us\": %.3f, \"bytes\": %.0f, \"gb_s\": %.1f, \"share_of_copy\": %.4f}%s\n",
                 json_string(r.name).c_str(), json_string(r.size).c_str(), r.time.median_us,
                 r.time.min_us, r.time.max_us, r.bytes, r.gb_s, r.share,
                 i + 1 < runs.size() ? "," : "");
  }
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

int run(int argc, char** argv) {
  const char *json = nullptr, *commit = "";
  bool check = true, timing = true;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else if (option == "--commit" && i + 1 < argc) {
      commit = argv[++i];
    } else if (option == "--check-only") {
      timing = false;
    } else if (option == "--bench-only") {
      check = false;
    } else {
      std::fprintf(stderr, "usage: %s [--json PATH] [--commit ID] [--check-only | --bench-only]\n",
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
  Verdicts verdicts;
  if (check) {
    check_elementwise(verdicts);
    std::printf("%d checks, %d failed\n", verdicts.checked(), verdicts.failed());
  }
  double copy_gb_s = 0;
  std::unique_ptr<Bench> bench;
  if (timing) {
    constexpr double kBytes = 2.0 * (1 << 30);
    const Timing copy = time_copy(kBytes);
    copy_gb_s = kBytes / copy.median_us * 1e-3;
    std::printf("copy of 1 GiB: %.1f us (%.1f to %.1f), %.0f GB/s read + write\n", copy.median_us,
                copy.min_us, copy.max_us, copy_gb_s);
    bench = std::make_unique<Bench>(copy_gb_s);
    time_all(*bench);
  }
  if (json != nullptr)
    write_json(json, commit, device, driver, verdicts, copy_gb_s,
               bench ? bench->runs() : std::vector<Run>{});
  return verdicts.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) { return intaglio::bench::run(argc, argv); }
