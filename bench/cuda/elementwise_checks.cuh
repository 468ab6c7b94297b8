// The checks of check_row_ops: passes over floats that begin out of line, against double loops.
// Arrays in line are those of tests/ops, which walk every op's list on a card
// (intaglio_gpu_tests).
#pragma once

#include <cuda_runtime.h>

#include <cstring>

#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/launch/euler_step.h"
#include "row_ops_cases.h"
#include "row_timing.cuh"

namespace intaglio::bench {

// Device memory with a poisoned guard behind it.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : count_(static_cast<size_t>(count)), memory_(count_ * sizeof(T) + kGuard) {
    MUST(cudaMemset(memory_.template as<void>(), 0xa5, memory_.bytes()));
  }
  explicit Buffer(const std::vector<T>& from) : Buffer(static_cast<int64_t>(from.size())) {
    memory_.upload(from);
  }
  T* data() const { return memory_.template as<T>(); }
  std::vector<T> values(Verdicts& verdicts) const {
    std::vector<char> all(memory_.bytes());
    MUST(cudaMemcpy(all.data(), data(), all.size(), cudaMemcpyDeviceToHost));
    for (size_t i = count_ * sizeof(T); i < all.size(); ++i)
      verdicts.expect(all[i] == static_cast<char>(0xa5), "guard", static_cast<int64_t>(i), 0, 0);
    std::vector<T> values(count_);
    std::memcpy(static_cast<void*>(values.data()), all.data(), count_ * sizeof(T));
    return values;
  }

 private:
  static constexpr size_t kGuard = 256;
  size_t count_;
  DeviceBuffer memory_;
};

inline void check_flat_passes(Verdicts& v, int64_t count) {
  v.begin("flat passes of " + std::to_string(count) + ", shifted");
  // A leading element that no pass touches brings the arrays out of line.
  constexpr int64_t shift = 1;
  const auto x = random_floats(count + shift, 1, 0.0f, 3.0f), y = random_floats(count + shift, 2);
  const auto z = random_floats(count + shift, 3);
  const auto half = as_bf16(y);
  const auto first = static_cast<size_t>(shift);
  const auto run = [&](auto&& launch) {
    const Buffer<float> d_x(x);
    MUST(launch(d_x.data() + shift));
    MUST(cudaDeviceSynchronize());
    const auto now = d_x.values(v);
    for (size_t i = 0; i < first; ++i) v.same("before", static_cast<int64_t>(i), now[i], x[i]);
    return now;
  };
  const Buffer<float> d_y(y), d_z(z), factor(std::vector<float>{0.75f}), limited(1),
      back(count + shift);
  const Buffer<BFloat16> d_half(half), out(count + shift);
  const auto silu = run([&](float* at) {
    return cuda::activate_rows({at, 1, count, count, Nonlinearity::kSilu}, nullptr);
  });
  const auto sum = run([&](float* at) {
    return cuda::add_in_place(at, d_y.data() + shift, DType::kF32, count, nullptr);
  });
  const auto half_sum = run([&](float* at) {
    return cuda::add_in_place(at, d_half.data() + shift, DType::kBF16, count, nullptr);
  });
  const float* const velocities[] = {d_y.data() + shift, d_z.data() + shift};
  const cuda::PassesParams guided{{velocities[0], velocities[1]}, {4.5f, -3.5f}, 2, count};
  const cuda::PassesParams all{
      {velocities[0], velocities[1], velocities[1], velocities[0]}, {4.5f, -3.5f, 2, -1}, 4, count};
  const auto step = [&](const cuda::PassesParams& passes, const float* by) {
    return run([&](float* at) { return cuda::euler_step({passes, at, -0.037f, by}, nullptr); });
  };
  const auto euler = step(guided, nullptr), euler_of_four = step(all, factor.data());
  const auto plain = step({{velocities[0]}, {1.0f}, 1, count}, nullptr);
  MUST(cuda::limit_velocity_norm({guided, 0, 2.0f, limited.data()}, nullptr));
  double of_reference = 0.0, of_sum = 0.0;
  run([&](float* at) {
    return cuda::convert_elements(at, DType::kF32, out.data() + shift, DType::kBF16, count,
                                  nullptr);
  });
  MUST(cuda::convert_elements(out.data() + shift, DType::kBF16, back.data() + shift, DType::kF32,
                              count, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto converted = out.values(v);
  const auto floats = back.values(v);
  for (size_t i = first; i < x.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    v.near("silu", at, silu[i], x[i] / (1.0 + std::exp(-double{x[i]})), 1e-6, 1e-30);
    v.same("sum", at, sum[i], x[i] + y[i]);
    v.same("bf16 sum", at, half_sum[i], x[i] + static_cast<float>(half[i]));
    const float two = 4.5f * y[i] + (1.0f - 4.5f) * z[i];
    v.same("euler", at, euler[i], x[i] - -0.037f * two);
    const float four = two + 2.0f * z[i] + -1.0f * y[i];
    v.same("euler of four", at, euler_of_four[i], x[i] - -0.037f * (0.75f * four));
    of_reference += double{y[i]} * double{y[i]};
    of_sum += double{two} * double{two};
    v.same("plain euler", at, plain[i], x[i] - -0.037f * y[i]);
    v.same("bf16", at, static_cast<float>(converted[i]), static_cast<float>(BFloat16(x[i])));
    v.same("f32", at, floats[i], static_cast<float>(converted[i]));
  }
  v.near("limit", 0, limited.values(v)[0], std::min(1.0, 2.0 * std::sqrt(of_reference / of_sum)),
         1e-7, 0.0);
}

inline void check_elementwise(Verdicts& v) {
  for (int64_t count : {1, 3, 4, 4095, 4096, 4097, 100003}) check_flat_passes(v, count);
}

}  // namespace intaglio::bench
