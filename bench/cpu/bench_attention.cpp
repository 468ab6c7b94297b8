// Speed of every attention implementation this processor can run, at the shapes of real models.
// Each result is first compared with the first row of the reference, then timed: median and spread
// of repeated calls on random data.
//   bench_attention [threads] [name part]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "ops/attention.h"

namespace {

using namespace intaglio;

struct Case {
  const char* name;
  AttentionDesc desc;
};

std::vector<std::byte> random_values(size_t count, DType dtype, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<std::byte> bytes(count * dtype_size(dtype));
  for (size_t i = 0; i < count; ++i) {
    const float value = normal(generator);
    const BFloat16 half(value);
    std::memcpy(bytes.data() + i * dtype_size(dtype),
                dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, dtype_size(dtype));
  }
  return bytes;
}

// The last query row of the first head in float64.
double error_of_one_row(const AttentionDesc& d, const AttentionArgs& args) {
  const auto at = [&](const void* base, int64_t index) {
    float value = 0.0f;
    convert_to_f32(
        static_cast<const std::byte*>(base) + static_cast<size_t>(index) * dtype_size(d.dtype),
        d.dtype, &value, 1);
    return static_cast<double>(value);
  };
  const int64_t t = d.tokens - 1;
  std::vector<double> sums(static_cast<size_t>(d.head_dim), 0.0);
  double total = 0.0;
  for (int64_t s = 0; s < d.tokens; ++s) {
    double dot = 0.0;
    for (int64_t j = 0; j < d.head_dim; ++j)
      dot += at(args.q, t * args.ldq + j) * at(args.k, s * args.ldk + j);
    const double p = std::exp(dot / std::sqrt(static_cast<double>(d.head_dim)));
    total += p;
    for (int64_t j = 0; j < d.head_dim; ++j)
      sums[static_cast<size_t>(j)] += p * at(args.v, s * args.ldv + j);
  }
  double difference = 0.0;
  double norm = 0.0;
  for (int64_t j = 0; j < d.head_dim; ++j) {
    const double expected = sums[static_cast<size_t>(j)] / total;
    const double found = at(args.out, t * d.heads * d.head_dim + j);
    difference += (found - expected) * (found - expected);
    norm += expected * expected;
  }
  return std::sqrt(difference / norm);
}

void run_case(const Case& c, const AttentionImplementation& implementation, Context context) {
  const AttentionDesc& d = c.desc;
  if (implementation.can_run(d, context) != nullptr) return;
  const int64_t q_width = d.heads * d.head_dim;
  const int64_t kv_width = d.kv_heads * d.head_dim;
  const int64_t ld = q_width + 2 * kv_width;
  const auto qkv = random_values(static_cast<size_t>(d.tokens * ld), d.dtype, 1);
  std::vector<std::byte> out(static_cast<size_t>(d.tokens * q_width) * dtype_size(d.dtype));
  AttentionArgs args;
  args.q = qkv.data();
  args.k = qkv.data() + static_cast<size_t>(q_width) * dtype_size(d.dtype);
  args.v = qkv.data() + static_cast<size_t>(q_width + kv_width) * dtype_size(d.dtype);
  args.ldq = args.ldk = args.ldv = ld;
  args.out = out.data();
  auto arena = Arena::with_capacity(implementation.scratch_bytes(d, context.threads));
  if (!arena) return;
  context.scratch = &*arena;

  if (!implementation.run(context, d, args)) return;
  const double error = error_of_one_row(d, args);
  const double flops =
      4.0 * static_cast<double>(d.heads) * static_cast<double>(d.head_dim) *
      static_cast<double>(d.causal ? d.tokens * (d.tokens + 1) / 2 : d.tokens * d.tokens);
  std::vector<double> times_ms;
  double spent_ms = 0.0;
  while (times_ms.size() < 5 || (spent_ms < 1000.0 && times_ms.size() < 200)) {
    const auto start = std::chrono::steady_clock::now();
    if (!implementation.run(context, d, args)) return;
    const std::chrono::duration<double, std::milli> elapsed =
        std::chrono::steady_clock::now() - start;
    times_ms.push_back(elapsed.count());
    spent_ms += elapsed.count();
  }
  std::sort(times_ms.begin(), times_ms.end());
  const double median = times_ms[times_ms.size() / 2];
  std::printf(
      "%-22s %-24s %-4s threads %d  median %9.3f ms  min %9.3f ms  %8.1f GFLOP/s (best %8.1f)  "
      "error %.1e  scratch %.1f MiB\n",
      implementation.name, c.name, std::string(dtype_name(d.dtype)).c_str(), context.threads,
      median, times_ms.front(), flops / median * 1e-6, flops / times_ms.front() * 1e-6, error,
      static_cast<double>(arena->capacity()) / 1048576.0);
}

}  // namespace

int main(int argc, char** argv) {
  Context context;
  context.threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  context.cpu = host_cpu_features();
  const char* part = argc > 2 ? argv[2] : "";
  const Case cases[] = {
      {"1024 x 18 x 256", {.tokens = 1024, .heads = 18, .kv_heads = 18, .head_dim = 256}},
      {"300 x 6 x 64", {.tokens = 300, .heads = 6, .kv_heads = 6, .head_dim = 64}},
      {"512 causal x 32/8 x 128",
       {.tokens = 512, .heads = 32, .kv_heads = 8, .head_dim = 128, .causal = true}},
  };
  std::printf("%s\n", context.cpu.brand.c_str());
  for (const Case& c : cases) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const AttentionImplementation& implementation : attention_implementations()) {
        if (std::strstr(implementation.name, part) == nullptr ||
            std::strcmp(implementation.name, "ref_attention") == 0)
          continue;
        Case with_type = c;
        with_type.desc.dtype = dtype;
        run_case(with_type, implementation, context);
      }
    }
  }
  return 0;
}
