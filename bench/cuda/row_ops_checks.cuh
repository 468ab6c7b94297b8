// The checks of check_row_ops for norms, residuals, q and k and group norm: each launcher against
// double loops.
#pragma once

#include <cuda_runtime.h>

#include <cstring>

#include "ops/cuda/launch/group_norm.h"
#include "ops/cuda/launch/norm_rows.h"
#include "ops/cuda/launch/qk_norm_rope.h"
#include "row_ops_cases.h"
#include "row_timing.cuh"

namespace intaglio::bench {

using cuda::RowNormKind;
using cuda::RowUpdate;

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

inline constexpr double kHalfStep = 1.0 / 256 * 1.01;  // relative error of rounding to bf16

// --- checks ---

inline void check_norms(Verdicts& v) {
  for (int64_t cols : {1, 37, 1000, 1024, 4096, 4608, 8192, 12288, 20000, 53248, 70000}) {
    for (RowUpdate update : {RowUpdate::kNone, RowUpdate::kAdd, RowUpdate::kGated}) {
      for (int variant = 0; variant < 6; ++variant) {
        const bool layer = variant % 2 == 1, y_bf16 = variant % 4 < 2;
        const bool shifted = variant >= 4, normed = variant != 5;  // y, where the update is gated
        if (update == RowUpdate::kNone && !y_bf16) continue;
        const int64_t rows = cols > 10000 ? 8 : 17, count = rows * cols;
        v.begin("norm " + std::to_string(cols) + " update " +
                std::to_string(static_cast<int>(update)) + " variant " + std::to_string(variant));
        std::vector<float> x = random_floats(count, 1), y = random_floats(count, 2);
        make_rows_odd(update == RowUpdate::kNone ? x : y, cols);
        const auto y16 = as_bf16(y);
        if (y_bf16) y = as_floats(y16);
        const auto weight = random_floats(cols, 3, 1.0f, 0.3f),
                   modulation = random_floats(cols, 4, 0.0f, 0.3f);
        const auto y_weight = random_floats(cols, 5, 1.0f, 0.3f), gate = random_floats(cols, 6),
                   shift = random_floats(cols, 7);
        const Buffer<float> d_y(y), d_weight(weight), d_modulation(modulation), d_gate(gate),
            d_y_weight(y_weight), d_shift(shift), scale(rows), out(count);
        const Buffer<BFloat16> d_y16(y16), out16(count);
        const Buffer<int8_t> q(count);
        cuda::RowNorm norm;
        norm.kind = layer ? RowNormKind::kLayer : RowNormKind::kRms;
        norm.eps = 1e-6f;
        norm.weight = d_weight.data();
        norm.modulation = d_modulation.data();
        norm.shift = shifted ? d_shift.data() : nullptr;
        std::vector<float> h;
        for (DType type : {DType::kF32, DType::kBF16, DType::kI8}) {
          const Buffer<float> d_x(x);
          norm.out_type = type;
          norm.scale = scale.data();
          norm.out = type == DType::kF32    ? static_cast<void*>(out.data())
                     : type == DType::kBF16 ? static_cast<void*>(out16.data())
                                            : static_cast<void*>(q.data());
          if (update == RowUpdate::kNone) {
            MUST(cuda::norm_rows({d_x.data(), rows, cols, norm}, nullptr));
          } else {
            cuda::ResidualRowsParams p;
            p.update = update;
            p.y_type = y_bf16 ? DType::kBF16 : DType::kF32;
            p.h = d_x.data();
            p.y = y_bf16 ? static_cast<const void*>(d_y16.data()) : d_y.data();
            p.weight = d_y_weight.data();
            p.gate = d_gate.data();
            p.eps = 1e-5f;
            p.rows = rows;
            p.cols = cols;
            p.next = norm;
            p.normed = normed;
            MUST(cuda::residual_rows(p, nullptr));
          }
          MUST(cudaDeviceSynchronize());
          const auto now = d_x.values(v);
          v.expect(h.empty() || std::memcmp(h.data(), now.data(), h.size() * 4) == 0,
                   "h of two runs", 0, 0, 0);
          h = now;
        }
        const auto floats = out.values(v);
        const auto halves = out16.values(v);
        const auto integers = q.values(v);
        const auto scales = scale.values(v);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t at = r * cols;
          std::vector<double> update_row(y.begin() + at, y.begin() + at + cols);
          if (update == RowUpdate::kGated && normed)
            update_row = normed_row(y.data() + at, cols, false, 1e-5);
          const auto n = normed_row(h.data() + at, cols, layer, 1e-6);
          for (int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<size_t>(at + c), column = static_cast<size_t>(c);
            if (update != RowUpdate::kNone) {
              double u = update_row[column];
              if (update == RowUpdate::kGated) u *= double{y_weight[column]} * gate[column];
              const double sum = x[i] + u;
              if (std::isinf(sum)) {
                v.expect(std::isinf(h[i]), "h", at + c, h[i], sum);
              } else {
                v.near("h", at + c, h[i], sum, 4e-6, std::fabs(x[i]) + std::fabs(u));
              }
            }
            const double modulated = n[column] * weight[column] * (1.0 + modulation[column]);
            const double expected = modulated + (shifted ? double{shift[column]} : 0.0);
            v.near("norm", at + c, floats[i], expected, layer ? 1e-4 : 4e-6,
                   std::max(layer ? 1.0 : 1e-25, std::fabs(modulated)));
            v.same("bf16", at + c, static_cast<float>(halves[i]),
                   static_cast<float>(BFloat16(floats[i])));
          }
          expect_quantized(v, floats.data() + at, cols, integers.data() + at,
                           scales[static_cast<size_t>(r)]);
        }
      }
    }
  }
}

template <typename T>
void check_qk(Verdicts& v, int64_t tokens, int heads, int kv_heads, int d, int64_t gap, bool int8,
              cuda::RopePairing pairing) {
  const bool adjacent = pairing == cuda::RopePairing::kAdjacent;
  v.begin("qk_norm_rope " + std::to_string(tokens) + " tokens, " + std::to_string(heads) + "/" +
          std::to_string(kv_heads) + " heads of " + std::to_string(d) +
          (sizeof(T) == 4 ? " f32" : " bf16") + (int8 ? " int8" : "") +
          (adjacent ? " adjacent" : ""));
  const int64_t half = d / 2, ld = (heads + kv_heads) * d + gap, blocks = (tokens + 63) / 64;
  std::vector<float> x = random_floats(tokens * ld, 1, 0.5f);
  std::vector<T> typed(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    typed[i] = T(x[i]);
    x[i] = static_cast<float>(typed[i]);
  }
  const auto angles = random_floats(tokens * half, 2, 0.0f, 3.0f);
  const auto q_weight = random_floats(d, 3, 1.0f, 0.3f), k_weight = random_floats(d, 4, 1.0f, 0.3f);
  std::vector<float> cosine(angles.size()), sine(angles.size());
  for (size_t i = 0; i < angles.size(); ++i)
    cosine[i] = std::cos(angles[i]), sine[i] = std::sin(angles[i]);
  const Buffer<T> d_x(typed);
  const Buffer<float> d_cos(cosine), d_sin(sine), d_q_weight(q_weight), d_k_weight(k_weight);
  const Buffer<int8_t> q8(heads * tokens * d), k8(kv_heads * tokens * d);
  const Buffer<float> q_scale(heads * tokens), k_scale(kv_heads * blocks);
  cuda::QkNormRopeParams p;
  p.type = sizeof(T) == 4 ? DType::kF32 : DType::kBF16;
  p.q = d_x.data();
  p.k = d_x.data() + heads * d;
  p.ld = ld;
  p.q_weight = d_q_weight.data();
  p.k_weight = d_k_weight.data();
  p.cos = d_cos.data();
  p.sin = d_sin.data();
  p.pairing = pairing;
  p.eps = 1e-6f;
  p.tokens = tokens;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.head_dim = d;
  if (int8)
    p.q8 = q8.data(), p.q_scale = q_scale.data(), p.k8 = k8.data(), p.k_scale = k_scale.data();
  const Buffer<char> workspace(static_cast<int64_t>(cuda::qk_norm_rope_workspace_bytes(p)));
  p.workspace = workspace.data();
  MUST(cuda::qk_norm_rope(p, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto y = d_x.values(v);
  const auto q_integers = q8.values(v), k_integers = k8.values(v);
  const auto q_scales = q_scale.values(v), k_scales = k_scale.values(v);
  const auto bytes = workspace.values(v);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t head = 0; head < heads + kv_heads; ++head) {
      const int64_t at = t * ld + head * d;
      const auto& weight = head < heads ? q_weight : k_weight;
      std::vector<double> n = normed_row(x.data() + at, d, false, 1e-6), r(n.size());
      double most = 0.0;
      for (int64_t j = 0; j < d; ++j) n[static_cast<size_t>(j)] *= weight[static_cast<size_t>(j)];
      for (int64_t j = 0; j < half; ++j) {
        const double c = cosine[static_cast<size_t>(t * half + j)],
                     s = sine[static_cast<size_t>(t * half + j)];
        const auto first = static_cast<size_t>(adjacent ? 2 * j : j),
                   second = static_cast<size_t>(adjacent ? 2 * j + 1 : j + half);
        r[first] = n[first] * c - n[second] * s;
        r[second] = n[second] * c + n[first] * s;
      }
      for (double value : r) most = std::max(most, std::fabs(value));
      const int64_t row = head * tokens + t;
      for (int64_t j = 0; j < d; ++j) {
        const double value = r[static_cast<size_t>(j)];
        if (head < heads && int8) {
          v.near("q scale", row, q_scales[static_cast<size_t>(row)], most / 127, 4e-6, 1e-30);
          const double steps = value * 127 / most;
          const int got = q_integers[static_cast<size_t>(row * d + j)];
          v.expect(std::fabs(got - steps) <= 0.5005, "q", row * d + j, got, steps);
        } else {
          v.near("y", at + j, static_cast<float>(y[static_cast<size_t>(at + j)]), value,
                 sizeof(T) == 4 ? 2e-6 : kHalfStep, sizeof(T) == 4 ? 4.0 : 1e-3);
        }
      }
    }
  }
  if (!int8) return;
  std::vector<float> means(static_cast<size_t>(kv_heads * d));
  std::memcpy(means.data(), bytes.data() + kv_heads * blocks * d * 4, means.size() * 4);
  for (int64_t head = 0; head < kv_heads; ++head) {
    for (int64_t block = 0; block < blocks; ++block) {
      std::vector<float> values;
      const int64_t first = block * 64, end = std::min(first + 64, tokens);
      for (int64_t t = first; t < end; ++t)
        for (int64_t j = 0; j < d; ++j)
          values.push_back(
              static_cast<float>(y[static_cast<size_t>(t * ld + (heads + head) * d + j)]) -
              means[static_cast<size_t>(head * d + j)]);
      expect_quantized(v, values.data(), static_cast<int64_t>(values.size()),
                       k_integers.data() + (head * tokens + first) * d,
                       k_scales[static_cast<size_t>(head * blocks + block)]);
    }
    for (int64_t j = 0; j < d; ++j) {
      double sum = 0.0;
      for (int64_t t = 0; t < tokens; ++t)
        sum += static_cast<float>(y[static_cast<size_t>(t * ld + (heads + head) * d + j)]);
      v.near("mean", j, means[static_cast<size_t>(head * d + j)], sum / static_cast<double>(tokens),
             1e-5, 1.0);
    }
  }
}

inline void check_all_qk(Verdicts& v) {
  for (int d : {64, 128, 256, 6, 80}) {
    for (bool int8 : {false, true}) {
      for (int64_t tokens : {1, 65, 700}) {
        for (auto pairing : {cuda::RopePairing::kHalves, cuda::RopePairing::kAdjacent}) {
          check_qk<BFloat16>(v, tokens, 18, 18, d, 8, int8, pairing);
          check_qk<float>(v, tokens, 8, 3, d, tokens == 65 ? 1 : 4, int8, pairing);
        }
      }
    }
  }
}

template <typename T>
void check_group_norm(Verdicts& v, int64_t pixels, int channels, int groups, bool silu) {
  v.begin("group_norm " + std::to_string(pixels) + " x " + std::to_string(channels) +
          (sizeof(T) == 4 ? " f32" : " bf16"));
  std::vector<float> x = random_floats(pixels * channels, 1, 3.0f);
  std::vector<T> typed(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    typed[i] = T(x[i]);
    x[i] = static_cast<float>(typed[i]);
  }
  const auto weight = random_floats(channels, 2, 1.0f, 0.3f), bias = random_floats(channels, 3);
  const Buffer<float> d_weight(weight), d_bias(bias);
  const Buffer<T> d_x(typed), d_y(pixels * channels);
  cuda::GroupNormParams p;
  p.x = d_x.data();
  p.y = d_y.data();
  p.weight = d_weight.data();
  p.bias = d_bias.data();
  p.pixels = pixels;
  p.channels = channels;
  p.groups = groups;
  p.eps = 1e-6f;
  p.silu = silu;
  p.type = sizeof(T) == 4 ? DType::kF32 : DType::kBF16;
  const Buffer<char> workspace(static_cast<int64_t>(cuda::group_norm_workspace_bytes(p)));
  p.workspace = workspace.data();
  MUST(cuda::group_norm(p, nullptr));
  MUST(cudaDeviceSynchronize());
  const auto y = d_y.values(v);
  workspace.values(v);
  const int64_t size = channels / groups;
  std::vector<double> sums(static_cast<size_t>(groups)), squares(static_cast<size_t>(groups));
  for (size_t i = 0; i < x.size(); ++i) {
    const auto g = static_cast<size_t>(static_cast<int64_t>(i) % channels / size);
    sums[g] += x[i];
    squares[g] += double{x[i]} * x[i];
  }
  const double n = static_cast<double>(pixels) * static_cast<double>(size);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto c = static_cast<size_t>(static_cast<int64_t>(i) % channels);
    const size_t g = c / static_cast<size_t>(size);
    const double mean = sums[g] / n, variance = std::max(0.0, squares[g] / n - mean * mean);
    const double value = (x[i] - mean) / std::sqrt(variance + 1e-6) * weight[c] + bias[c];
    v.near("y", static_cast<int64_t>(i), static_cast<float>(y[i]),
           silu ? value / (1.0 + std::exp(-value)) : value, sizeof(T) == 4 ? 1e-5 : kHalfStep,
           sizeof(T) == 4 ? 4.0 : 2e-2);
  }
}

inline void check_group_norms(Verdicts& v) {
  for (bool silu : {false, true}) {
    for (int channels : {128, 256, 384, 512}) {
      for (int64_t pixels : {1, 63, 4096, 20001}) {
        check_group_norm<BFloat16>(v, pixels, channels, 32, silu);
        check_group_norm<float>(v, pixels, channels, 32, silu);
      }
    }
    check_group_norm<BFloat16>(v, 1000, 6, 3, silu);
    check_group_norm<float>(v, 1000, 15, 5, silu);
  }
}

}  // namespace intaglio::bench
