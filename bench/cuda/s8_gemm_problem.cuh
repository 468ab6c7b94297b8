// Problems of the CUDA int8 GEMM checks and benchmarks: operands on the device, ways to run a
// product, and the check of one against the oracle.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

#include "device_bench.cuh"
#include "s8_gemm_oracle.cuh"

namespace intaglio::bench {

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
    fill_s8(a_.as<int8_t>(), q.m * lda + q.a_shift, seed, q.normal);
    fill_s8(w_.as<int8_t>(), q.n * ldw, seed + 1, q.normal);
    float* row_scale = floats_.as<float>();
    float* col_scale = row_scale + rows_4 + q.scale_shift;
    bias_ = col_scale + columns_4 + q.bias_shift;
    // y is of the size of 1 to 3, where silu bends.
    const float size = 1.0f / (5460.0f * std::sqrt(static_cast<float>(q.k)));
    fill_f32(row_scale, q.m, seed + 2, 0.5f, 2.0f);
    fill_f32(col_scale, q.n, seed + 3, 0.5f * size, 2.0f * size);
    fill_f32(bias_, q.n, seed + 4, -1.0f, 1.0f);
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
    const bool swiglu = q.epilogue == GemmEpilogue::kSwiglu && q.out != DType::kI32;
    params_.ldo = (swiglu ? params_.n / 2 : params_.n) + q.out_pad;
    params_.bias = q.bias ? bias_ : nullptr;
    params_.out_type = q.out;
    params_.epilogue = q.epilogue;
    const size_t element = q.out == DType::kI32 || q.out == DType::kF32 ? 4 : 2;
    out_bytes_ = (static_cast<size_t>(params_.m) + 1) * static_cast<size_t>(params_.ldo) * element;
    out_.reserve(out_bytes_);
    params_.out = out_.as<void>();
    return params_;
  }

  const int32_t* product() {
    sums_.reserve(static_cast<size_t>(params_.m) * static_cast<size_t>(params_.n) * 4);
    plain_product(params_, sums_.as<int32_t>());
    return sums_.as<int32_t>();
  }

  void* workspace(size_t bytes) {
    workspace_.reserve(bytes);
    require(cudaMemset(workspace_.as<void>(), kPoison, bytes), "poison");
    return workspace_.as<void>();
  }

  void poison() { require(cudaMemset(out_.as<void>(), kPoison, out_bytes_), "poison"); }

 private:
  DeviceBuffer a_, w_, floats_, out_, sums_, workspace_;
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

inline void check_runner(Operands& operands, const S8GemmParams& p, const int32_t* sums,
                         const Runner& runner, Tally& tally) {
  if (runner.refusal(p) != nullptr) {
    ++tally.refused;
    return;
  }
  operands.poison();
  const size_t bytes = runner.workspace_bytes(p);
  void* workspace = bytes > 0 ? operands.workspace(bytes) : nullptr;
  const cudaError_t status = runner.run(p, workspace, cudaStream_t{});
  require(cudaDeviceSynchronize(), runner.name.c_str());
  const Mismatch bad = compare(p, sums);
  ++tally.checked;
  if (status == cudaSuccess && bad.count == 0) return;
  if (++tally.failed <= 40) {
    std::printf(
        "FAIL %s m=%d n=%d k=%d lda=%lld ldw=%lld ldo=%lld out=%d epilogue=%d: %s, %llu differ, "
        "first row %llu col %llu: %.9g, expected %.9g\n",
        runner.name.c_str(), p.m, p.n, p.k, static_cast<long long>(p.lda),
        static_cast<long long>(p.ldw), static_cast<long long>(p.ldo), static_cast<int>(p.out_type),
        static_cast<int>(p.epilogue), cudaGetErrorString(status), bad.count, bad.first / p.ldo,
        bad.first % p.ldo, bad.got, bad.want);
  }
}

}  // namespace intaglio::bench
