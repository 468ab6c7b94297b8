// Problems for the attention kernels: shapes, data that is hard on them, and the verdict over an
// output.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention_reference.cuh"
#include "device_bench.cuh"
#include "ops/cuda/attention_params.h"

namespace intaglio::bench {

enum class AttentionData {
  kNormal,  // logits of deviation 1
  kSharp,   // of deviation 30: a row is nearly one key
  kWide,    // rows of q and k over nine powers of two
  kNanKey,  // one key is NaN; with int8, the scale of one block of keys
};

struct AttentionProblem {
  int tokens = 1, heads = 1, kv_heads = 1, head_dim = 256;
  bool causal = false, s8 = false;
  AttentionData data = AttentionData::kNormal;
  int in_pad = 0, out_pad = 0;  // elements between rows, multiples of 8
  uint32_t seed = 0;

  std::string name() const {
    static constexpr const char* kData[] = {"normal", "sharp", "wide", "nan_key"};
    return std::string(s8 ? "s8" : "bf16") + " " + std::to_string(tokens) + " tokens " +
           std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads x " +
           std::to_string(head_dim) + (causal ? " causal " : " ") + kData[static_cast<int>(data)];
  }
};

// Inputs of a problem on the device, outputs and their reference.
// q | k | v of a token lie side by side (int8: q and k apart). Behind the last token come rows of
// NaN: whoever reads them as keys or values shows it.
class AttentionOperands {
 public:
  explicit AttentionOperands(const AttentionProblem& problem) : problem_(problem) {
    const int64_t d = problem.head_dim, heads = problem.heads, kv = problem.kv_heads;
    const int64_t ld = (heads + 2 * kv) * d + problem.in_pad;
    params_ = {.ldq = ld,
               .ldk = ld,
               .ldv = ld,
               .ldo = heads * d + problem.out_pad,
               .tokens = problem.tokens,
               .heads = problem.heads,
               .kv_heads = problem.kv_heads,
               .head_dim = problem.head_dim,
               .causal = problem.causal ? 1 : 0};
    std::mt19937 random(problem.seed);
    make_rows(random);
    params_.v = rows_.as<__nv_bfloat16>() + (heads + kv) * d;
    if (problem.s8) {
      make_s8(random);
    } else {
      params_.q = rows_.as<void>();
      params_.k = rows_.as<__nv_bfloat16>() + heads * d;
    }
    out_bytes_ = static_cast<size_t>((problem.tokens + kRowsPast) * params_.ldo) * 2;
    out_ = DeviceBuffer(out_bytes_);
    params_.out = out_.as<void>();
    compute_reference();
  }

  const cuda::AttentionParams& params() const { return params_; }

  void poison() const { require(cudaMemset(out_.as<void>(), kPoison, out_bytes_), "poison"); }

  std::vector<uint16_t> output() const {
    std::vector<uint16_t> out(out_bytes_ / 2);
    require(cudaMemcpy(out.data(), out_.as<void>(), out_bytes_, cudaMemcpyDeviceToHost), "output");
    return out;
  }

  // Empty if `out` is right, else what is wrong. Tolerance, of the norm over the head_dim numbers
  // of a token and head:
  //   P and out are rounded to bf16, each by up to 2^-9 = 1.95e-3, P one number by one: 2.2e-3 of
  //   `spread` and of the value.
  //   Logits are float sums: up to 16 steps, each rounded to 2^-22 of what `reach` bounds, so
  //   weights are off by 2^-18 reach, one way or the other; so are the sums of P v: of `mass`. A
  //   key left out or counted twice is an error of 1 / sqrt(tokens) of `spread`: 3e-2 at 1153
  //   tokens.
  std::string judge(const std::vector<uint16_t>& out) const {
    const int64_t d = params_.head_dim, columns = params_.heads * d;
    const auto number = [&](int64_t token, int64_t c) {
      return double{std::bit_cast<float>(
          static_cast<uint32_t>(out[static_cast<size_t>(token * params_.ldo + c)]) << 16)};
    };
    for (int64_t token = 0; token < params_.tokens; ++token) {
      for (int64_t head = 0; head < params_.heads; ++head) {
        double error = 0.0, value = 0.0, spread = 0.0, mass = 0.0;
        int found_nan = 0, wanted_nan = 0;
        for (int64_t c = head * d; c < (head + 1) * d; ++c) {
          const auto at = static_cast<size_t>(token * columns + c);
          const double x = number(token, c);
          found_nan += std::isnan(x) ? 1 : 0;
          wanted_nan += std::isnan(value_[at]) ? 1 : 0;
          error += (x - value_[at]) * (x - value_[at]);
          value += value_[at] * value_[at];
          spread += spread_[at] * spread_[at];
          mass += mass_[at] * mass_[at];
        }
        const std::string where =
            "token " + std::to_string(token) + " head " + std::to_string(head);
        if (found_nan != wanted_nan)
          return where + ": " + std::to_string(found_nan) + " NaN, expected " +
                 std::to_string(wanted_nan);
        if (wanted_nan != 0) continue;
        const double reach = reach_[static_cast<size_t>(head * params_.tokens + token)];
        const double bound = 2.2e-3 * (std::sqrt(spread) + std::sqrt(value)) +
                             0x1p-18 * (2.0 * reach + 1.0) * std::sqrt(mass);
        if (!(std::sqrt(error) <= bound))
          return where + ": off by " + std::to_string(std::sqrt(error)) + ", allowed " +
                 std::to_string(bound) + ", norm " + std::to_string(std::sqrt(value));
        worst_ = std::max(worst_, std::sqrt(error) / bound);
      }
    }
    for (int64_t token = 0; token < params_.tokens + kRowsPast; ++token)
      for (int64_t c = token < params_.tokens ? columns : 0; c < params_.ldo; ++c)
        if (out[static_cast<size_t>(token * params_.ldo + c)] != kPoison * 0x101)
          return "written outside: row " + std::to_string(token) + " column " + std::to_string(c);
    return "";
  }
  double worst() const { return worst_; }  // error over bound

 private:
  static constexpr int kRowsPast = 3;
  static constexpr uint16_t kPoison = 0x5a;

  // The factor of a row of q or k.
  float row_factor(std::mt19937& random) const {
    if (problem_.data != AttentionData::kWide) return 1.0f;
    return std::exp2(std::uniform_real_distribution<float>(-6.0f, 3.0f)(random));
  }
  float query_factor() const { return problem_.data == AttentionData::kSharp ? 30.0f : 1.0f; }
  int nan_token() const { return problem_.tokens * 2 / 3; }

  void make_rows(std::mt19937& random) {
    const int64_t d = problem_.head_dim, ld = params_.ldq;
    std::normal_distribution<float> normal;
    std::vector<__nv_bfloat16> rows(static_cast<size_t>((problem_.tokens + kRowsPast) * ld),
                                    __float2bfloat16(std::numeric_limits<float>::quiet_NaN()));
    for (int64_t token = 0; token < problem_.tokens; ++token) {
      __nv_bfloat16* row = rows.data() + token * ld;
      for (int64_t head = 0; head < problem_.heads + 2 * problem_.kv_heads; ++head) {
        const bool is_q = head < problem_.heads;
        const bool is_v = head >= problem_.heads + problem_.kv_heads;
        const float factor = is_v ? 1.0f : row_factor(random) * (is_q ? query_factor() : 1.0f);
        for (int64_t c = 0; c < d; ++c)
          row[head * d + c] = __float2bfloat16(normal(random) * factor + (is_v ? 0.25f : 0.0f));
      }
      if (problem_.data == AttentionData::kNanKey && token == nan_token())
        row[problem_.heads * d + 5] = __float2bfloat16(std::numeric_limits<float>::quiet_NaN());
    }
    rows_ = DeviceBuffer(rows.size() * 2);
    rows_.upload(rows);
  }

  // Rows of normals quantized, with rows of the largest numbers there are among them: sums of
  // head_dim * 127 * 127 and near it.
  std::vector<int8_t> random_s8(std::mt19937& random, int64_t rows) const {
    std::normal_distribution<float> normal(0.0f, 127.0f / 3.5f);
    std::vector<int8_t> x(static_cast<size_t>(rows * problem_.head_dim));
    for (int64_t row = 0; row < rows; ++row) {
      const bool full = random() % 16 == 0;
      for (int64_t c = 0; c < problem_.head_dim; ++c)
        x[static_cast<size_t>(row * problem_.head_dim + c)] =
            static_cast<int8_t>(full ? (row % 2 == 0 ? 127 : -128)
                                     : std::lrint(std::clamp(normal(random), -127.0f, 127.0f)));
    }
    return x;
  }

  void make_s8(std::mt19937& random) {
    const int64_t blocks = (problem_.tokens - 1) / kS8KeyBlock + 1;
    const int64_t q_rows = int64_t{problem_.heads} * problem_.tokens;
    const int64_t k_rows = int64_t{problem_.kv_heads} * problem_.tokens;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto q = random_s8(random, q_rows), k = random_s8(random, k_rows);
    std::vector<float> q_scale, k_scale;
    for (int64_t i = 0; i < q_rows; ++i)
      q_scale.push_back(3.5f / 127.0f * row_factor(random) * query_factor());
    for (int64_t i = 0; i < problem_.kv_heads * blocks; ++i) {
      const bool broken =
          problem_.data == AttentionData::kNanKey && i % blocks == nan_token() / kS8KeyBlock;
      k_scale.push_back(broken ? nan : 3.5f / 127.0f * row_factor(random));
    }
    // Past the ends.
    q_scale.resize(q_scale.size() + 128, nan);
    k_scale.resize(k_scale.size() + 128, nan);
    q_ = DeviceBuffer(q.size());
    k_ = DeviceBuffer(k.size());
    q_scale_ = DeviceBuffer(q_scale.size() * 4);
    k_scale_ = DeviceBuffer(k_scale.size() * 4);
    q_.upload(q);
    k_.upload(k);
    q_scale_.upload(q_scale);
    k_scale_.upload(k_scale);
    params_.q = q_.as<void>();
    params_.k = k_.as<void>();
    params_.q_scale = q_scale_.as<float>();
    params_.k_scale = k_scale_.as<float>();
  }

  void compute_reference() {
    const size_t rows = size_t(problem_.heads) * problem_.tokens;
    const size_t count = rows * problem_.head_dim;
    const DeviceBuffer value(count * 8), spread(count * 8), mass(count * 8), reach(rows * 4);
    const DeviceBuffer logits(rows * problem_.tokens * 8);
    run_reference(params_, problem_.s8,
                  {value.as<double>(), spread.as<double>(), mass.as<double>(), reach.as<float>(),
                   logits.as<double>()});
    const auto fetch = [](auto& to, const DeviceBuffer& from, size_t size) {
      to.resize(size);
      require(cudaMemcpy(to.data(), from.as<void>(), size * sizeof(to[0]), cudaMemcpyDeviceToHost),
              "reference");
    };
    fetch(value_, value, count);
    fetch(spread_, spread, count);
    fetch(mass_, mass, count);
    fetch(reach_, reach, rows);
  }

  AttentionProblem problem_;
  cuda::AttentionParams params_;
  DeviceBuffer rows_, q_, k_, q_scale_, k_scale_, out_;
  size_t out_bytes_ = 0;
  std::vector<double> value_, spread_, mass_;
  std::vector<float> reach_;
  mutable double worst_ = 0.0;
};

}  // namespace intaglio::bench
