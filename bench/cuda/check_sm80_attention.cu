// Checks, then times, attention by mma.sync: sm80_bf16_attention, sm80_s8_attention and
// sm80_s8_values_attention (every config), and the plain kernel they are held against.
//
//   nvcc -std=c++20 -O3 -Isrc -gencode arch=compute_90a,code=sm_90a
//   bench/cuda/check_sm80_attention.cu
//   src/ops/cuda/launch/{sm80/sm80_attention,plain_attention,s8_values}.cu -o check_sm80_attention
//   ./check_sm80_attention [--check-only | --bench-only] [--quick] [--json PATH]
//
// Exit status 0: everything agreed. plain_attention in float32 is compared with loops in double,
// the others with plain_attention on the values that their bf16 or int8 operands stand for: |out -
// ref| / |ref| < 1e-5 for float32 and < 6e-3 for bf16 outputs (its rounding alone is 1.7e-3, that
// of P as much again), < 8e-3 with P in 8 bits (3e-3: a 255th of the greatest of 32 keys over
// sqrt(12), by weights that are 0.4 of it); every element is written and nothing else. Times are
// medians of bursts with all candidates in turn, on random normal data. FLOP = 4 tokens^2 heads
// head_dim, half of it when causal.
#include <cuda_bf16.h>

#include <cmath>
#include <cstring>
#include <string>

#include "bench_report.h"
#include "check_options.h"
#include "device_bench.cuh"
#include "ops/cuda/launch/plain_attention.h"
#include "ops/cuda/launch/s8_values.h"
#include "ops/cuda/launch/sm80_attention.h"
#include "ops/s8_value_layout.h"

namespace intaglio::bench {
namespace {

using cuda::AttentionParams;
using cuda::AttentionType;
using cuda::Sm80AttentionType;

struct Shape {
  int tokens, heads, kv_heads, head_dim;
  bool causal;
};

__device__ uint32_t hash32(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>(x >> 32);
}

// Normal values as bf16, and the same as float.
__global__ void fill_kernel(__nv_bfloat16* half, float* full, int64_t count, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const uint64_t at = (static_cast<uint64_t>(seed) << 40) + 2 * i;
    const float u = (static_cast<float>(hash32(at) >> 8) + 0.5f) * 0x1p-24f;
    const float v = static_cast<float>(hash32(at + 1) >> 8) * 0x1p-24f;
    half[i] = __float2bfloat16_rn(sqrtf(-2.0f * logf(u)) * cospif(2.0f * v));
    full[i] = __bfloat162float(half[i]);
  }
}

// A block a group of `group` tokens of one head: int8 [heads, tokens, d] with one scale, and the
// values it stands for, in place of x [tokens, ld].
__global__ void quantize_kernel(float* x, int64_t ld, int tokens, int d, int group, int8_t* q,
                                float* scales) {
  __shared__ float most[256];
  const int head = blockIdx.y, first = blockIdx.x * group, end = min(tokens, first + group);
  float mine = 1e-30f;
  for (int i = threadIdx.x; i < (end - first) * d; i += blockDim.x)
    mine = fmaxf(mine, fabsf(x[(first + i / d) * ld + head * d + i % d]));
  most[threadIdx.x] = mine;
  __syncthreads();
  for (int step = 128; step > 0; step /= 2) {
    if (threadIdx.x < step) most[threadIdx.x] = fmaxf(most[threadIdx.x], most[threadIdx.x + step]);
    __syncthreads();
  }
  const float scale = most[0] / 127.0f;
  for (int i = threadIdx.x; i < (end - first) * d; i += blockDim.x) {
    float& value = x[(first + i / d) * ld + head * d + i % d];
    const float rounded = fminf(fmaxf(rintf(value / scale), -127.0f), 127.0f);
    q[(int64_t{head} * tokens + first + i / d) * d + i % d] = static_cast<int8_t>(rounded);
    value = rounded * scale;
  }
  if (threadIdx.x == 0) scales[int64_t{head} * gridDim.x + blockIdx.x] = scale;
}

// x [tokens, ld] becomes what int8 values of p stand for.
__global__ void dequantize_values_kernel(cuda::S8ValuesParams p, float* x, int64_t ld) {
  const int group = blockIdx.x, head = blockIdx.y, d = p.head_dim;
  for (int i = threadIdx.x; i < d * kS8ValueKeys; i += blockDim.x) {
    const int c = i / kS8ValueKeys, token = group * kS8ValueKeys + s8_value_key(i % kS8ValueKeys);
    if (token >= p.tokens) continue;
    const int8_t value = p.values[(int64_t{head} * gridDim.x + group) * d * kS8ValueKeys + i];
    x[token * ld + head * d + c] =
        fmaf(p.scale[head * d + c], static_cast<float>(value), p.mean[head * d + c]);
  }
}

// A block a query of one head, in double: the definition.
__global__ void double_kernel(AttentionParams p, double* out) {
  extern __shared__ double logits[];
  const int row = blockIdx.x, head = blockIdx.y, d = p.head_dim;
  const int kv = head / (p.heads / p.kv_heads), keys = p.causal ? row + 1 : p.tokens;
  const float* q = static_cast<const float*>(p.q) + row * p.ldq + head * d;
  for (int key = threadIdx.x; key < keys; key += blockDim.x) {
    const float* k = static_cast<const float*>(p.k) + key * p.ldk + kv * d;
    double dot = 0.0;
    for (int i = 0; i < d; ++i) dot += static_cast<double>(q[i]) * k[i];
    logits[key] = dot / sqrt(static_cast<double>(d));
  }
  __syncthreads();
  double most = -INFINITY, total = 0.0;
  for (int key = 0; key < keys; ++key) most = fmax(most, logits[key]);
  for (int key = 0; key < keys; ++key) total += exp(logits[key] - most);
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    double sum = 0.0;
    for (int key = 0; key < keys; ++key) {
      sum += exp(logits[key] - most) *
             static_cast<double>(static_cast<const float*>(p.v)[key * p.ldv + kv * d + i]);
    }
    out[(int64_t{row} * p.heads + head) * d + i] = sum / total;
  }
}

struct Distance {
  double error, size;
  unsigned long long nans, touched;
};

__device__ double value_of(double x) { return x; }
__device__ double value_of(float x) { return x; }
__device__ double value_of(__nv_bfloat16 x) { return __bfloat162float(x); }

// out [rows + 1, ldo] against ref [rows, ld_ref]: `width` columns; everything else must still be
// 0xff bytes.
template <typename Out, typename Ref>
__global__ void compare_kernel(const Out* out, int64_t ldo, const Ref* ref, int64_t ld_ref,
                               int rows, int width, Distance* distance) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= (int64_t{rows} + 1) * ldo) return;
  const int64_t row = index / ldo, column = index % ldo;
  if (row >= rows || column >= width) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(out + index);
    for (size_t i = 0; i < sizeof(Out); ++i) {
      if (bytes[i] != 0xff) atomicAdd(&distance->touched, 1ull);
    }
    return;
  }
  const double got = value_of(out[index]), want = value_of(ref[row * ld_ref + column]);
  if (isnan(got)) atomicAdd(&distance->nans, 1ull);
  atomicAdd(&distance->error, (got - want) * (got - want));
  atomicAdd(&distance->size, want * want);
}

enum class Operands { kF32, kBF16, kS8, kS8Values };

// Operands of one shape: q | k | v of a token side by side, as bf16 and as the floats they stand
// for, q and k as int8 with the floats those stand for, and these with int8 values.
class Problem {
 public:
  Problem(const Shape& shape, uint32_t seed) : shape_(shape) {
    const int d = shape.head_dim;
    ld_ = int64_t{shape.heads + 2 * shape.kv_heads} * d;
    ldo_ = int64_t{shape.heads} * d + 16;
    const auto count = static_cast<size_t>(shape.tokens * ld_);
    const auto q_count = static_cast<size_t>(shape.tokens) * shape.heads * d;
    const auto k_count = static_cast<size_t>(shape.tokens) * shape.kv_heads * d;
    const int blocks = (shape.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
    half_ = DeviceBuffer(count * 2);
    full_ = DeviceBuffer(count * 4);
    stood_for_ = DeviceBuffer(count * 4);
    q8_ = DeviceBuffer(q_count);
    k8_ = DeviceBuffer(k_count);
    q_scale_ = DeviceBuffer(sizeof(float) * shape.tokens * shape.heads);
    k_scale_ = DeviceBuffer(sizeof(float) * blocks * shape.kv_heads);
    out_ = DeviceBuffer(out_bytes(4));
    reference_ = DeviceBuffer(out_bytes(4));
    distance_ = DeviceBuffer(sizeof(Distance));
    fill_kernel<<<1024, 256>>>(half_.as<__nv_bfloat16>(), full_.as<float>(),
                               static_cast<int64_t>(count), seed);
    require(
        cudaMemcpy(stood_for_.as<void>(), full_.as<void>(), count * 4, cudaMemcpyDeviceToDevice),
        "copy");
    quantize_kernel<<<dim3(shape.tokens, shape.heads), 256>>>(
        stood_for_.as<float>(), ld_, shape.tokens, d, 1, q8_.as<int8_t>(), q_scale_.as<float>());
    quantize_kernel<<<dim3(blocks, shape.kv_heads), 256>>>(stood_for_.as<float>() + shape.heads * d,
                                                           ld_, shape.tokens, d, kS8KeyBlock,
                                                           k8_.as<int8_t>(), k_scale_.as<float>());
    const int groups = (shape.tokens + kS8ValueKeys - 1) / kS8ValueKeys;
    values_ = DeviceBuffer(static_cast<size_t>(groups) * kS8ValueKeys * shape.kv_heads * d);
    v_scale_ = DeviceBuffer(sizeof(float) * shape.kv_heads * d);
    v_mean_ = DeviceBuffer(sizeof(float) * shape.kv_heads * d);
    workspace_ = DeviceBuffer(cuda::s8_values_workspace_bytes(values_params()));
    stood_for_values_ = DeviceBuffer(count * 4);
    require(cuda::s8_values(values_params(), nullptr), "s8_values");
    require(cudaMemcpy(stood_for_values_.as<void>(), stood_for_.as<void>(), count * 4,
                       cudaMemcpyDeviceToDevice),
            "copy");
    dequantize_values_kernel<<<dim3(groups, shape.kv_heads), 256>>>(
        values_params(), stood_for_values_.as<float>() + (shape.heads + shape.kv_heads) * d, ld_);
    require(cudaDeviceSynchronize(), "operands");
  }

  // From the bf16 v to the int8 values.
  cuda::S8ValuesParams values_params() const {
    return {.v = half_.as<__nv_bfloat16>() + (shape_.heads + shape_.kv_heads) * shape_.head_dim,
            .ldv = ld_,
            .values = values_.as<int8_t>(),
            .scale = v_scale_.as<float>(),
            .mean = v_mean_.as<float>(),
            .workspace = workspace_.as<float>(),
            .tokens = shape_.tokens,
            .kv_heads = shape_.kv_heads,
            .head_dim = shape_.head_dim};
  }

  const Shape& shape() const { return shape_; }

  AttentionParams params(Operands operands) const {
    return operands == Operands::kF32 ? float_params(full_) : own_params(operands);
  }

  // The float32 result for the values that the operands stand for.
  void make_reference(Operands operands) {
    AttentionParams p = float_params(operands == Operands::kS8Values ? stood_for_values_
                                     : operands == Operands::kS8     ? stood_for_
                                                                     : full_);
    p.out = reference_.as<void>();
    require(cudaMemset(p.out, 0xff, reference_.bytes()), "poison");
    require(cuda::plain_attention(p, AttentionType::kF32, nullptr), "plain_attention");
    require(cudaDeviceSynchronize(), "plain_attention");
  }

  void poison() { require(cudaMemset(out_.as<void>(), 0xff, out_.bytes()), "poison"); }

  Distance distance(bool half) {
    return half ? compare<__nv_bfloat16>(reference_.as<float>(), ldo_)
                : compare<float>(reference_.as<float>(), ldo_);
  }

  // Of plain_attention's float32 result, in out.
  Distance distance_to_double() {
    const int width = shape_.heads * shape_.head_dim;
    DeviceBuffer exact(sizeof(double) * shape_.tokens * width);
    double_kernel<<<dim3(shape_.tokens, shape_.heads), 128, sizeof(double) * shape_.tokens>>>(
        float_params(full_), exact.as<double>());
    require(cudaDeviceSynchronize(), "double");
    return compare<float>(exact.as<double>(), width);
  }

 private:
  size_t out_bytes(size_t element) const {
    return (static_cast<size_t>(shape_.tokens) + 1) * static_cast<size_t>(ldo_) * element;
  }
  AttentionParams sizes() const {
    AttentionParams p;
    p.out = out_.as<void>();
    p.ldq = p.ldk = p.ldv = ld_;
    p.ldo = ldo_;
    p.tokens = shape_.tokens;
    p.heads = shape_.heads;
    p.kv_heads = shape_.kv_heads;
    p.head_dim = shape_.head_dim;
    p.causal = shape_.causal;
    return p;
  }
  AttentionParams float_params(const DeviceBuffer& x) const {
    AttentionParams p = sizes();
    p.q = x.as<float>();
    p.k = x.as<float>() + shape_.heads * shape_.head_dim;
    p.v = x.as<float>() + (shape_.heads + shape_.kv_heads) * shape_.head_dim;
    return p;
  }
  AttentionParams own_params(Operands operands) const {
    AttentionParams p = sizes();
    const auto* x = half_.as<__nv_bfloat16>();
    p.q = x;
    p.k = x + shape_.heads * shape_.head_dim;
    p.v = x + (shape_.heads + shape_.kv_heads) * shape_.head_dim;
    if (operands != Operands::kBF16) {
      p.q = q8_.as<void>();
      p.k = k8_.as<void>();
      p.q_scale = q_scale_.as<float>();
      p.k_scale = k_scale_.as<float>();
    }
    if (operands == Operands::kS8Values) {
      p.v = values_.as<void>();
      p.v_scale = v_scale_.as<float>();
      p.v_mean = v_mean_.as<float>();
    }
    return p;
  }
  template <typename Out, typename Ref>
  Distance compare(const Ref* ref, int64_t ld_ref) {
    require(cudaMemset(distance_.as<void>(), 0, sizeof(Distance)), "memset");
    const int64_t count = (int64_t{shape_.tokens} + 1) * ldo_;
    compare_kernel<Out, Ref><<<static_cast<unsigned>((count + 255) / 256), 256>>>(
        out_.as<Out>(), ldo_, ref, ld_ref, shape_.tokens, shape_.heads * shape_.head_dim,
        distance_.as<Distance>());
    Distance host{};
    require(cudaMemcpy(&host, distance_.as<void>(), sizeof(host), cudaMemcpyDeviceToHost),
            "compare");
    return host;
  }

  Shape shape_;
  int64_t ld_ = 0, ldo_ = 0;
  DeviceBuffer half_, full_, stood_for_, q8_, k8_, q_scale_, k_scale_, out_, reference_, distance_;
  DeviceBuffer values_, v_scale_, v_mean_, workspace_, stood_for_values_;
};

struct Runner {
  std::string name;
  std::function<const char*(const AttentionParams&)> refusal;
  std::function<cudaError_t(const AttentionParams&, cudaStream_t)> run;
};

Runner plain_runner(AttentionType type) {
  return {type == AttentionType::kF32 ? "plain_f32" : "plain_bf16",
          [=](const AttentionParams& p) { return cuda::plain_attention_refusal(p, type); },
          [=](const AttentionParams& p, cudaStream_t stream) {
            return cuda::plain_attention(p, type, stream);
          }};
}

// Every config, and the choice among them.
std::vector<Runner> sm80_runners(Sm80AttentionType type) {
  std::vector<Runner> list;
  switch (type) {
    case Sm80AttentionType::kBF16:
      list.push_back(
          {"sm80_bf16_attention", cuda::sm80_bf16_attention_refusal, cuda::sm80_bf16_attention});
      break;
    case Sm80AttentionType::kS8:
      list.push_back(
          {"sm80_s8_attention", cuda::sm80_s8_attention_refusal, cuda::sm80_s8_attention});
      break;
    case Sm80AttentionType::kS8Values:
      list.push_back({"sm80_s8_values_attention", cuda::sm80_s8_values_attention_refusal,
                      cuda::sm80_s8_values_attention});
      break;
  }
  const std::string name = list.front().name;
  const auto configs = cuda::sm80_attention_configs(type);
  for (int config = 0; config < static_cast<int>(configs.size()); ++config) {
    list.push_back(
        {name + "/" + configs[static_cast<size_t>(config)].name,
         [=](const AttentionParams& p) { return cuda::sm80_attention_refusal(type, p, config); },
         [=](const AttentionParams& p, cudaStream_t stream) {
           return cuda::sm80_attention(type, p, config, stream);
         }});
  }
  return list;
}

struct Tally {
  int checked = 0, failed = 0;
  double worst = 0.0;  // of bf16 outputs
};

void judge(const std::string& name, const Shape& s, const Distance& d, double bound, Tally& tally) {
  const double error = std::sqrt(d.error / d.size);
  ++tally.checked;
  if (bound > 1e-3 && error > tally.worst) tally.worst = error;
  if (error < bound && d.nans == 0 && d.touched == 0) return;
  if (++tally.failed <= 40) {
    std::printf(
        "FAIL %s tokens=%d heads=%d/%d d=%d causal=%d: error %.3g, %llu NaN, %llu outside\n",
        name.c_str(), s.tokens, s.heads, s.kv_heads, s.head_dim, s.causal, error, d.nans,
        d.touched);
  }
}

void check_runner(Problem& problem, Operands operands, const Runner& runner, Tally& tally) {
  const AttentionParams p = problem.params(operands);
  if (runner.refusal(p) != nullptr) return;
  problem.poison();
  require(runner.run(p, nullptr), runner.name.c_str());
  require(cudaDeviceSynchronize(), runner.name.c_str());
  judge(runner.name, problem.shape(), problem.distance(operands != Operands::kF32),
        operands == Operands::kF32        ? 1e-5
        : operands == Operands::kS8Values ? 8e-3
                                          : 6e-3,
        tally);
}

void check_shape(const Shape& shape, uint32_t seed, Tally& tally) {
  Problem problem(shape, seed);
  if (shape.tokens <= 1153) {
    const Runner plain = plain_runner(AttentionType::kF32);
    problem.poison();
    require(plain.run(problem.params(Operands::kF32), nullptr), "plain_attention");
    require(cudaDeviceSynchronize(), "plain_attention");
    judge("plain_f32", shape, problem.distance_to_double(), 1e-5, tally);
  }
  problem.make_reference(Operands::kBF16);
  check_runner(problem, Operands::kBF16, plain_runner(AttentionType::kBF16), tally);
  for (const Runner& r : sm80_runners(Sm80AttentionType::kBF16))
    check_runner(problem, Operands::kBF16, r, tally);
  problem.make_reference(Operands::kS8);
  for (const Runner& r : sm80_runners(Sm80AttentionType::kS8))
    check_runner(problem, Operands::kS8, r, tally);
  if (shape.causal) return;
  problem.make_reference(Operands::kS8Values);
  for (const Runner& r : sm80_runners(Sm80AttentionType::kS8Values))
    check_runner(problem, Operands::kS8Values, r, tally);
}

Tally check_everything(bool quick) {
  Tally tally;
  uint32_t seed = 1;
  for (const int d : {64, 128, 256}) {
    for (const int tokens : {1, 7, 64, 65, 127, 128, 129, 200, 333, 1000, 1153}) {
      if (quick && tokens > 200) continue;
      for (const bool causal : {false, true}) {
        check_shape({tokens, 2, 2, d, causal}, seed++, tally);
        check_shape({tokens, 6, 2, d, causal}, seed++, tally);
      }
    }
    std::printf("d=%d: %d checks, %d failed, largest bf16 error %.2e\n", d, tally.checked,
                tally.failed, tally.worst);
    std::fflush(stdout);
  }
  // Head sizes of the plain kernel alone.
  for (const int d : {4, 72, 200, 512}) check_shape({77, 2, 1, d, d % 8 == 0}, seed++, tally);
  if (!quick) check_shape({4608, 18, 18, 256, false}, seed++, tally);
  return tally;
}

void time_shape(const Shape& s, Results& results) {
  Problem problem(s, 99);
  const std::string shape = std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " x " +
                            std::to_string(s.head_dim) + (s.causal ? " causal" : "");
  std::printf("\n%s, %d tokens\n", shape.c_str(), s.tokens);
  std::vector<Candidate> candidates;
  for (const Operands operands : {Operands::kBF16, Operands::kS8, Operands::kS8Values}) {
    const AttentionParams p = problem.params(operands);
    const auto type = operands == Operands::kBF16 ? Sm80AttentionType::kBF16
                      : operands == Operands::kS8 ? Sm80AttentionType::kS8
                                                  : Sm80AttentionType::kS8Values;
    for (const Runner& r : sm80_runners(type)) {
      if (r.refusal(p) != nullptr) continue;
      candidates.push_back({r.name, [=](cudaStream_t stream) { return r.run(p, stream); }});
    }
  }
  if (!s.causal) {
    candidates.push_back(
        {"s8_values, then the first that takes them", [&](cudaStream_t stream) {
           const cudaError_t status = cuda::s8_values(problem.values_params(), stream);
           if (status != cudaSuccess) return status;
           return cuda::sm80_s8_values_attention(problem.params(Operands::kS8Values), stream);
         }});
  }
  const std::vector<Times> times = time_interleaved(candidates, 11, 3);
  // 2 m n k is then what the head comment counts.
  const int k = s.heads * s.head_dim * (s.causal ? 1 : 2);
  for (size_t i = 0; i < candidates.size(); ++i) {
    results.add(shape.c_str(), s.tokens, s.tokens, k, candidates[i].name, times[i]);
    std::printf("  %-40s %8.4f ms (%.4f to %.4f) %6.1f TFLOP/s\n", candidates[i].name.c_str(),
                times[i].median_ms, times[i].min_ms, times[i].max_ms,
                tera_per_second(s.tokens, s.tokens, k, times[i].median_ms));
  }
  results.sample("after " + shape + " " + std::to_string(s.tokens));
  std::fflush(stdout);
}

}  // namespace
}  // namespace intaglio::bench

int main(int argc, char** argv) {
  using namespace intaglio::bench;
  CheckOptions options;
  if (!read_check_options(argc, argv, options)) return 2;
  const auto [check, bench, quick, json] = options;
  Tally tally;
  if (check) {
    tally = check_everything(quick);
    std::printf("%d checks: %s, largest bf16 error %.2e\n", tally.checked,
                tally.failed == 0 ? "all agree" : "SOME DIFFER", tally.worst);
  }
  Results results(json, argc, argv);
  results.set_checks(tally.checked, tally.failed);
  if (bench) {
    for (const int tokens : {4096, 4608, 6144}) {
      time_shape({tokens, 18, 18, 256, false}, results);
      if (quick) break;
    }
    for (const int tokens : {512, 2048}) time_shape({tokens, 32, 8, 128, true}, results);
    results.write();
  }
  results.write();
  return tally.failed == 0 ? 0 : 1;
}
