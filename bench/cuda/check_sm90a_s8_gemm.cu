// Checks, then times the Hopper int8 GEMM beside cuBLASLt. check_sm90a_s8_gemm [--check-only | --bench-only] [--quick] [--json FILE]
#include <cuda_fp8.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cublaslt_baseline.h"
#include "device_data.cuh"
#include "ops/cuda/launch/sm90a_s8_gemm.h"

namespace intaglio::bench {
namespace {

using cuda::S8Fusion;
using cuda::S8GemmParams;
using cuda::S8Out;

template <typename T>
struct Buffer {
  T* data = nullptr;
  explicit Buffer(int64_t count) { CUDA_OK(cudaMalloc(&data, std::max<int64_t>(count, 1) * sizeof(T))); }
  ~Buffer() { cudaFree(data); }
  Buffer(const Buffer&) = delete;
};

int multiprocessors() {
  int count = 0;
  CUDA_OK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
  return count;
}

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

struct Shape {
  const char* name;
  int m, n, k;
};

// Errors over every config and output form of one shape.
int64_t check_shape(int m, int n, int k, uint32_t seed) {
  const int64_t lda = round_up(k, 16), ldw = lda;
  Buffer<int8_t> a(m * lda), w(n * ldw);
  Buffer<int32_t> right(int64_t{m} * n), out(int64_t{m} * n);
  const int64_t ldo = round_up(n, 8);
  Buffer<__nv_bfloat16> half(m * ldo);
  Buffer<float> ra(m), wc(n), bias(n);
  Buffer<unsigned long long> errors(2);
  fill_s8<<<1024, 256>>>(a.data, m * lda, seed, false);
  fill_s8<<<1024, 256>>>(w.data, n * ldw, seed + 1, false);
  fill_f32<<<64, 256>>>(ra.data, m, seed + 2, 0.01f, 0.002f);
  fill_f32<<<64, 256>>>(wc.data, n, seed + 3, 0.001f, 0.0002f);
  fill_f32<<<64, 256>>>(bias.data, n, seed + 4, 0.0f, 1.0f);
  naive_s8_gemm<<<dim3((n + 31) / 32, (m + 7) / 8), dim3(32, 8)>>>(a.data, lda, w.data, ldw, right.data, m, n, k);
  CUDA_OK(cudaGetLastError());
  int64_t total = 0;
  const auto configs = cuda::sm90a_s8_gemm_configs();
  for (int c = 0; c < static_cast<int>(configs.size()); ++c) {
    for (int form = 0; form < 5; ++form) {  // int32; bf16 scales + bias; no bias; swiglu; odd ldo (plain stores)
      const bool swiglu = form == 3;
      if (swiglu && n % 32 != 0) continue;
      S8GemmParams p{a.data, w.data, ra.data, wc.data, form == 2 ? nullptr : bias.data, half.data,
                     lda, ldw, form == 4 ? n : ldo, m, n, k, S8Out::kBF16,
                     swiglu ? S8Fusion::kSwiglu : S8Fusion::kNone};
      if (form == 0) {
        p.out = out.data;
        p.ldo = n;
        p.out_type = S8Out::kI32;
      }
      CUDA_OK(cudaMemset(half.data, 0xff, m * ldo * 2));
      CUDA_OK(cudaMemset(out.data, 0xff, int64_t{m} * n * 4));
      CUDA_OK(cudaMemset(errors.data, 0, 16));
      CUDA_OK(cuda::sm90a_s8_gemm(p, c, {static_cast<int>(1 + seed % 9), multiprocessors() / 2 * 2, static_cast<int>(seed % 4)}, nullptr));
      if (form == 0) {
        compare_s32<<<1024, 256>>>(out.data, n, right.data, m, n, errors.data);
      } else {
        compare_bf16<<<1024, 256>>>(half.data, p.ldo, right.data, m, n, ra.data, wc.data, p.bias, swiglu, errors.data);
      }
      unsigned long long found[2];
      CUDA_OK(cudaMemcpy(found, errors.data, 16, cudaMemcpyDeviceToHost));
      if (found[0] + found[1] > 0)
        std::printf("WRONG %s %d x %d x %d form %d: %llu errors, %llu other bits\n", configs[c].name, m, n, k, form,
                    found[0], found[1]);
      total += static_cast<int64_t>(found[0] + found[1]);
    }
  }
  return total;
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

struct Candidate {
  std::string name;
  std::function<void()> run;
  std::vector<double> ms;
};

// Interleaved rounds of short bursts: every candidate sees the same clocks.
void time_all(std::vector<Candidate>& all, int rounds, int burst) {
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  for (auto& c : all) c.run();
  for (int r = 0; r < rounds; ++r) {
    for (auto& c : all) {
      c.run();
      CUDA_OK(cudaEventRecord(begin));
      for (int i = 0; i < burst; ++i) c.run();
      CUDA_OK(cudaEventRecord(end));
      CUDA_OK(cudaEventSynchronize(end));
      float ms = 0;
      CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
      c.ms.push_back(ms / burst);
    }
  }
}

void bench_shape(const Shape& s, std::FILE* json, bool& first, bool quick) {
  const int64_t a_count = int64_t{s.m} * s.k, w_count = int64_t{s.n} * s.k, o_count = int64_t{s.m} * s.n;
  Buffer<int8_t> a(a_count), w(w_count);
  Buffer<__nv_bfloat16> a16(a_count), w16(w_count);
  Buffer<__nv_fp8_e4m3> a8(a_count), w8(w_count);
  Buffer<int32_t> out(o_count);
  Buffer<float> ra(s.m), wc(s.n), bias(s.n);
  fill_s8<<<1024, 256>>>(a.data, a_count, 1, true);
  fill_s8<<<1024, 256>>>(w.data, w_count, 2, true);
  convert_s8<<<1024, 256>>>(a.data, a16.data, a_count);
  convert_s8<<<1024, 256>>>(w.data, w16.data, w_count);
  convert_s8<<<1024, 256>>>(a.data, a8.data, a_count);
  convert_s8<<<1024, 256>>>(w.data, w8.data, w_count);
  fill_f32<<<64, 256>>>(ra.data, s.m, 3, 0.01f, 0.002f);
  fill_f32<<<64, 256>>>(wc.data, s.n, 4, 0.01f, 0.002f);
  fill_f32<<<64, 256>>>(bias.data, s.n, 5, 0.0f, 1.0f);
  std::vector<Candidate> all;
  std::vector<std::unique_ptr<LtProduct>> products;
  const std::pair<LtKind, const char*> kinds[] = {{LtKind::kBF16, "cublaslt_bf16"},
                                                  {LtKind::kS8, "cublaslt_s8_s32"},
                                                  {LtKind::kFP8Rowwise, "cublaslt_fp8_rowwise"},
                                                  {LtKind::kFP8Tensorwise, "cublaslt_fp8_tensorwise"}};
  for (const auto& [kind, name] : kinds) {
    std::string error;
    auto product = LtProduct::make(kind, s.m, s.n, s.k, ra.data, wc.data, error);
    if (!product) {
      std::printf("  %s: %s\n", name, error.c_str());
      continue;
    }
    LtProduct* raw = product.get();
    const void* x = kind == LtKind::kBF16 ? static_cast<void*>(a16.data) : kind == LtKind::kS8 ? static_cast<void*>(a.data) : a8.data;
    const void* y = kind == LtKind::kBF16 ? static_cast<void*>(w16.data) : kind == LtKind::kS8 ? static_cast<void*>(w.data) : w8.data;
    all.push_back({name, [raw, x, y, &out] { CUDA_OK(raw->run(x, y, out.data, nullptr)); }, {}});
    products.push_back(std::move(product));
  }
  const auto configs = cuda::sm90a_s8_gemm_configs();
  const int blocks = multiprocessors() / 2 * 2;
  S8GemmParams p{a.data, w.data, ra.data, wc.data, bias.data, out.data, s.k, s.k, s.n, s.m, s.n, s.k,
                 S8Out::kBF16, S8Fusion::kNone};
  for (int c = 0; c < static_cast<int>(configs.size()); ++c) {
    for (int band : {4, 8, 16, 64}) {
      if (quick && band != 8) continue;
      for (int lag : {0, 2}) {
        if (lag > 0 && (c >= 2 || band != 8)) continue;
        all.push_back({std::string("sm90a ") + configs[c].name + " band " + std::to_string(band) + " lag " + std::to_string(lag),
                       [p, c, band, blocks = c >= 2 ? 128 : blocks, lag] { CUDA_OK(cuda::sm90a_s8_gemm(p, c, {band, blocks, lag}, nullptr)); }, {}});
      }
    }
  }
  S8GemmParams gated = p;
  gated.fusion = S8Fusion::kSwiglu;
  gated.ldo = s.n / 2;
  all.push_back({"sm90a 128x256x128 band 8 swiglu", [gated, blocks] { CUDA_OK(cuda::sm90a_s8_gemm(gated, 0, {8, blocks, 0}, nullptr)); }, {}});
  time_all(all, quick ? 5 : 9, 4);
  const double work = 2.0 * s.m * s.n * s.k;
  std::printf("%s %d x %d x %d\n", s.name, s.m, s.n, s.k);
  for (const auto& c : all) {
    const double ms = median(c.ms);
    std::printf("  %-34s %8.4f ms %7.0f TOP/s\n", c.name.c_str(), ms, work / ms * 1e-9);
    if (json) {
      std::fprintf(json, "%s\n  {\"shape\": \"%s\", \"m\": %d, \"n\": %d, \"k\": %d, \"candidate\": \"%s\", \"median_ms\": %.6f, \"min_ms\": %.6f, \"max_ms\": %.6f, \"tops\": %.1f}",
                   first ? "" : ",", s.name, s.m, s.n, s.k, c.name.c_str(), ms, *std::min_element(c.ms.begin(), c.ms.end()),
                   *std::max_element(c.ms.begin(), c.ms.end()), work / ms * 1e-9);
      first = false;
    }
  }
  std::fflush(stdout);
}

// One product again and again, for as long as clocks take to settle.
void soak(int config, int lag, const Shape& s, double seconds) {
  Buffer<int8_t> a(int64_t{s.m} * s.k), w(int64_t{s.n} * s.k);
  Buffer<__nv_bfloat16> out(int64_t{s.m} * s.n);
  Buffer<float> ra(s.m), wc(s.n), bias(s.n);
  fill_s8<<<1024, 256>>>(a.data, int64_t{s.m} * s.k, 1, true);
  fill_s8<<<1024, 256>>>(w.data, int64_t{s.n} * s.k, 2, true);
  fill_f32<<<64, 256>>>(ra.data, s.m, 3, 0.01f, 0.002f);
  fill_f32<<<64, 256>>>(wc.data, s.n, 4, 0.01f, 0.002f);
  fill_f32<<<64, 256>>>(bias.data, s.n, 5, 0.0f, 1.0f);
  const S8GemmParams p{a.data, w.data, ra.data, wc.data, bias.data, out.data, s.k, s.k, s.n, s.m, s.n, s.k, S8Out::kBF16, S8Fusion::kNone};
  cudaEvent_t begin, end;
  CUDA_OK(cudaEventCreate(&begin));
  CUDA_OK(cudaEventCreate(&end));
  double total = 0, last = 0;
  while (total < seconds * 1e3) {
    CUDA_OK(cudaEventRecord(begin));
    for (int i = 0; i < 200; ++i) CUDA_OK(cuda::sm90a_s8_gemm(p, config, {8, config >= 2 ? 128 : 132, lag}, nullptr));
    CUDA_OK(cudaEventRecord(end));
    CUDA_OK(cudaEventSynchronize(end));
    float ms = 0;
    CUDA_OK(cudaEventElapsedTime(&ms, begin, end));
    total += ms;
    last = ms / 200;
  }
  std::printf("soak config %d lag %d %s %d: %.4f ms %.0f TOP/s\n", config, lag, s.name, s.m, last, 2.0 * s.m * s.n * s.k / last * 1e-9);
}

int main_program(int argc, char** argv) {
  bool check = true, bench = true, quick = false;
  std::FILE* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--check-only")) bench = false;
    else if (!std::strcmp(argv[i], "--bench-only")) check = false;
    else if (!std::strcmp(argv[i], "--quick")) quick = true;
    else if (!std::strcmp(argv[i], "--soak") && i + 2 < argc) {
      const int config = std::atoi(argv[++i]), lag = std::atoi(argv[++i]);
      soak(config, lag, {"qkv", 4608, 13824, 4608}, 0.7);
      soak(config, lag, {"w2", 4608, 4608, 12288}, 0.7);
      return 0;
    }
    else if (!std::strcmp(argv[i], "--json") && i + 1 < argc) json = std::fopen(argv[++i], "w");
    else return std::fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
  }
  int64_t errors = 0;
  if (check) {
    const int fixed[][3] = {{1, 1, 1}, {1, 8, 16}, {128, 256, 128}, {129, 257, 129}, {256, 512, 4608}, {300, 320, 1000},
                            {4096, 4608, 4608}, {4100, 4608, 256}, {512, 4608, 53248}, {1, 13824, 4608}};
    uint32_t seed = 1;
    for (const auto& s : fixed) errors += check_shape(s[0], s[1], s[2], seed += 10);
    for (int i = 0; i < (quick ? 20 : 200); ++i) {
      const uint32_t r = seed += 10;
      const int m = 1 + mix(r, 1) % (i % 4 == 0 ? 2000 : 300), n = 1 + mix(r, 2) % (i % 4 == 1 ? 3000 : 600), k = 1 + mix(r, 3) % (i % 4 == 2 ? 9000 : 700);
      errors += check_shape(m, i % 3 == 0 ? (n + 31) / 32 * 32 : n, k, seed);
    }
    std::printf("check: %lld errors\n", static_cast<long long>(errors));
    std::fflush(stdout);
  }
  if (bench && errors == 0) {
    const Shape shapes[] = {{"qkv", 4096, 13824, 4608}, {"out", 4096, 4608, 4608}, {"w1w3", 4096, 24576, 4608}, {"w2", 4096, 4608, 12288},
                            {"qkv", 4608, 13824, 4608}, {"out", 4608, 4608, 4608}, {"w1w3", 4608, 24576, 4608}, {"w2", 4608, 4608, 12288},
                            {"qkv", 16384, 13824, 4608}, {"out", 16384, 4608, 4608}, {"w1w3", 16384, 24576, 4608}, {"w2", 16384, 4608, 12288}};
    bool first = true;
    if (json) std::fprintf(json, "[");
    for (const Shape& s : shapes) bench_shape(s, json, first, quick);
    if (json) std::fprintf(json, "\n]\n");
  }
  if (json) std::fclose(json);
  return errors == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) { return intaglio::bench::main_program(argc, argv); }
