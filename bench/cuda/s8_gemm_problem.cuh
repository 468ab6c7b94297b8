// Problems of the CUDA int8 GEMM checks and benchmarks: operands on the device, ways to run a
// product, and the check of one against the reference.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "device_bench.cuh"
#include "ops/cuda/launch/s8_gemm_reference.h"

namespace intaglio::bench {

using cuda::S8GemmParams;

inline constexpr unsigned char kPoison = 0xa5;

// Sums of four uniforms, sigma 31, as a row scaled by its largest of some thousands of normal
// values has it.
__global__ void fill_normal_s8_kernel(int8_t* to, int64_t count, uint32_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    uint64_t x = (static_cast<uint64_t>(seed) << 40) + i + 1;
    x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
    const auto h = static_cast<uint32_t>(x >> 32);
    const int sum = static_cast<int>((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24));
    to[i] = static_cast<int8_t>(max(-127, min(127, static_cast<int>(rintf((sum - 510) * 0.21f)))));
  }
}

// normal: as above. Otherwise all of -128 to 127 alike.
inline void fill_operand(int8_t* to, int64_t count, uint32_t seed, bool normal) {
  if (!normal) return require(cuda::fill_s8(to, count, seed, nullptr), "fill_s8");
  fill_normal_s8_kernel<<<1024, 256>>>(to, count, seed);
  require(cudaGetLastError(), "fill_normal_s8");
}

inline void fill_floats(float* to, int64_t count, uint32_t seed, float low, float high) {
  require(cuda::fill_f32(to, count, seed, low, high, nullptr), "fill_f32");
}

// int8 as numbers of another type, 32 times smaller: normal data comes to a deviation of about 1.
template <typename T>
__global__ void convert_s8_kernel(const int8_t* from, T* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    to[i] = T(static_cast<float>(from[i]) * 0x1p-5f);
}

template <typename T>
void convert_s8(const int8_t* from, T* to, int64_t count) {
  convert_s8_kernel<<<1024, 256>>>(from, to, count);
  require(cudaGetLastError(), "convert_s8");
}

// Adds what is no longer poison between the rows of p.out and in the one after the last.
template <typename Element>
__global__ void count_outside_kernel(const S8GemmParams p, Element poison,
                                     unsigned long long* count) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= (int64_t{p.m} + 1) * p.ldo) return;
  if (index / p.ldo < p.m && index % p.ldo < cuda::out_columns(p)) return;
  if (static_cast<const Element*>(p.out)[index] != poison) atomicAdd(count, 1ull);
}

struct Judgement {
  cuda::S8GemmVerdict inside;
  unsigned long long outside;
};

// p.out has a row more than the product and was poisoned before it.
inline Judgement judge(const S8GemmParams& p) {
  static DeviceBuffer result(sizeof(Judgement));
  auto* const on_device = result.as<Judgement>();
  require(cudaMemset(on_device, 0, sizeof(Judgement)), "memset");
  require(cuda::judge_s8_gemm(p, &on_device->inside, nullptr), "judge_s8_gemm");
  const auto blocks = static_cast<unsigned>(((int64_t{p.m} + 1) * p.ldo + 255) / 256);
  if (p.out_type == DType::kI32 || p.out_type == DType::kF32) {
    count_outside_kernel<uint32_t><<<blocks, 256>>>(p, 0xa5a5a5a5u, &on_device->outside);
  } else {
    count_outside_kernel<uint16_t><<<blocks, 256>>>(p, 0xa5a5, &on_device->outside);
  }
  require(cudaGetLastError(), "count_outside");
  Judgement host{};
  require(cudaMemcpy(&host, on_device, sizeof(host), cudaMemcpyDeviceToHost), "judge");
  return host;
}

struct Shape {
  const char* name;
  int m, n, k;
};

struct Problem {
  int m, n, k;
  int a_pad = 0, w_pad = 0, out_pad = 0;  // elements between rows
  int a_shift = 0;                        // bytes before the first row of a
  DType out = DType::kI32;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  int scale_shift = 0, bias_shift = 0;  // floats before the scales of the columns, before the bias
  bool bias = true, nan_row = false, normal = false;
};

// Operands of one problem. Everything outside the matrices is random too: padding that leaks into a
// sum shows.
class Operands {
 public:
  const S8GemmParams& prepare(const Problem& q, uint32_t seed) {
    const int64_t lda = q.k + q.a_pad, ldw = q.k + q.w_pad;
    a_.reserve(static_cast<size_t>(q.m * lda + q.a_shift));
    w_.reserve(static_cast<size_t>(q.n * ldw));
    const int64_t rows_4 = (int64_t{q.m} + 3) / 4 * 4, columns_4 = (int64_t{q.n} + 3) / 4 * 4;
    floats_.reserve(sizeof(float) *
                    static_cast<size_t>(rows_4 + 2 * columns_4 + q.scale_shift + q.bias_shift));
    fill_operand(a_.as<int8_t>(), q.m * lda + q.a_shift, seed, q.normal);
    fill_operand(w_.as<int8_t>(), q.n * ldw, seed + 1, q.normal);
    float* row_scale = floats_.as<float>();
    float* col_scale = row_scale + rows_4 + q.scale_shift;
    bias_ = col_scale + columns_4 + q.bias_shift;
    // y is of the size of 1 to 3, where silu bends.
    const float size = 1.0f / (5460.0f * std::sqrt(static_cast<float>(q.k)));
    fill_floats(row_scale, q.m, seed + 2, 0.5f, 2.0f);
    fill_floats(col_scale, q.n, seed + 3, 0.5f * size, 2.0f * size);
    fill_floats(bias_, q.n, seed + 4, -1.0f, 1.0f);
    if (q.nan_row) {
      const float nan = std::nanf("");
      require(cudaMemcpy(row_scale + q.m / 2, &nan, sizeof(nan), cudaMemcpyHostToDevice), "nan");
    }
    params_ = {.a = a_.as<int8_t>(static_cast<size_t>(q.a_shift)),
               .w = w_.as<int8_t>(),
               .a_scale_row = row_scale,
               .w_scale_col = col_scale,
               .bias = nullptr,
               .out = nullptr,
               .lda = lda,
               .ldw = ldw,
               .ldo = 0,
               .m = q.m,
               .n = q.n,
               .k = q.k,
               .out_type = q.out,
               .epilogue = q.epilogue};
    return output(q);
  }

  // Another form of output of the problem prepared last: out, epilogue, bias and out_pad of `q`
  // count, the rest stays.
  const S8GemmParams& output(const Problem& q) {
    params_.bias = q.bias ? bias_ : nullptr;
    params_.out_type = q.out;
    params_.epilogue = q.epilogue;
    params_.ldo = out_columns(params_) + q.out_pad;
    const size_t element = q.out == DType::kI32 || q.out == DType::kF32 ? 4 : 2;
    out_bytes_ = (static_cast<size_t>(params_.m) + 1) * static_cast<size_t>(params_.ldo) * element;
    out_.reserve(out_bytes_);
    params_.out = out_.as<void>();
    return params_;
  }

  void* workspace(size_t bytes) {
    workspace_.reserve(bytes);
    require(cudaMemset(workspace_.as<void>(), kPoison, bytes), "poison");
    return workspace_.as<void>();
  }

  void poison() { require(cudaMemset(out_.as<void>(), kPoison, out_bytes_), "poison"); }

 private:
  DeviceBuffer a_, w_, floats_, out_, workspace_;
  size_t out_bytes_ = 0;
  float* bias_ = nullptr;
  S8GemmParams params_{};
};

// One way to run a product: a kernel, a config, a split.
struct Runner {
  std::string name;
  std::function<const char*(const S8GemmParams&)> refusal;
  std::function<size_t(const S8GemmParams&)> workspace_bytes;
  std::function<cudaError_t(const S8GemmParams&, void*, cudaStream_t)> run;
};

struct Tally {
  int checked = 0, refused = 0, failed = 0;

  void report(const char* what) const {
    std::printf("check %-34s %5d products, %d failed, %d refused\n", what, checked, failed,
                refused);
    std::fflush(stdout);
  }
};

inline void check_runner(Operands& operands, const S8GemmParams& p, const Runner& runner,
                         Tally& tally) {
  if (runner.refusal(p) != nullptr) {
    ++tally.refused;
    return;
  }
  operands.poison();
  const size_t bytes = runner.workspace_bytes(p);
  void* workspace = bytes > 0 ? operands.workspace(bytes) : nullptr;
  const cudaError_t status = runner.run(p, workspace, cudaStream_t{});
  require(cudaDeviceSynchronize(), runner.name.c_str());
  const auto [inside, outside] = judge(p);
  ++tally.checked;
  if (status == cudaSuccess && inside.wrong == 0 && outside == 0) return;
  if (++tally.failed <= 40) {
    std::printf(
        "FAIL %s m=%d n=%d k=%d lda=%lld ldw=%lld ldo=%lld out=%d epilogue=%d: %s, %llu differ, "
        "first row %llu col %llu: %.9g, expected %.9g; %llu written outside\n",
        runner.name.c_str(), p.m, p.n, p.k, static_cast<long long>(p.lda),
        static_cast<long long>(p.ldw), static_cast<long long>(p.ldo), static_cast<int>(p.out_type),
        static_cast<int>(p.epilogue), cudaGetErrorString(status), inside.wrong,
        inside.first / p.ldo, inside.first % p.ldo, inside.got, inside.want, outside);
  }
}

}  // namespace intaglio::bench
