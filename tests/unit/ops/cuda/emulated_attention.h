// Problems for the attention kernels, which tests run on the CPU (emulation/lanes.h), and loops in
// double to hold them against. Include it before any kernel.
#pragma once

#include <gtest/gtest.h>

#include "core/dtype.h"
#include "dynamic_shared.h"
#include "lanes.h"
#include "ops/cuda/attention_params.h"
#include "ops/s8_value_layout.h"

namespace intaglio::cuda {

namespace {

using emulation::machine;

struct Shape {
  int tokens, heads, kv_heads, head_dim;
  bool causal;
};

// kS8Values: s8 with int8 values too.
enum class Kind { kF32, kBF16, kS8, kS8Values };

// One problem: operands as the kernels take them, and the values they stand for.
struct Problem {
  Shape shape{};
  Kind kind = Kind::kF32;
  AttentionParams p{};
  std::vector<double> q, k, v;  // [tokens, heads or kv_heads, head_dim]
  std::vector<uint4> q_bytes, k_bytes, v_bytes, out_bytes;
  std::vector<float> q_scale, k_scale, v_scale, v_mean;

  bool float_out() const { return kind == Kind::kF32; }
  size_t out_elements() const { return static_cast<size_t>((shape.tokens + 1) * p.ldo); }
};

template <typename T>
T* storage(std::vector<uint4>& bytes, int64_t elements) {
  bytes.assign(static_cast<size_t>(elements) * sizeof(T) / 16 + 1, uint4{});
  std::memset(bytes.data(), 0xff, bytes.size() * 16);  // NaN and -1 between the rows
  return reinterpret_cast<T*>(bytes.data());
}

// Writes values to rows with a stride and rounds them to what was written.
template <typename T>
void write_rows(std::vector<double>& values, int rows, int width, T* to, int64_t ld) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < width; ++i) {
      double& value = values[static_cast<size_t>(row) * width + i];
      const T rounded = T(static_cast<float>(value));
      to[row * ld + i] = rounded;
      value = static_cast<double>(static_cast<float>(rounded));
    }
  }
}

template <typename T>
void write_floats(Problem& z) {
  const int q_width = z.shape.heads * z.shape.head_dim,
            k_width = z.shape.kv_heads * z.shape.head_dim;
  z.p.ldq = q_width + 16;
  z.p.ldk = k_width + 32;
  auto* q = storage<T>(z.q_bytes, z.shape.tokens * z.p.ldq);
  auto* k = storage<T>(z.k_bytes, z.shape.tokens * z.p.ldk);
  write_rows(z.q, z.shape.tokens, q_width, q, z.p.ldq);
  write_rows(z.k, z.shape.tokens, k_width, k, z.p.ldk);
  z.p.q = q;
  z.p.k = k;
}

int8_t quantized(double value, double scale) {
  return static_cast<int8_t>(std::lround(std::clamp(value / scale, -127.0, 127.0)));
}

void write_s8(Problem& z) {
  const int tokens = z.shape.tokens, d = z.shape.head_dim;
  const auto at = [&](int token, int head, int heads) {
    return (static_cast<size_t>(token) * heads + head) * d;
  };
  auto* q = storage<int8_t>(z.q_bytes, int64_t{z.shape.heads} * tokens * d);
  auto* k = storage<int8_t>(z.k_bytes, int64_t{z.shape.kv_heads} * tokens * d);
  const int blocks = (tokens + kS8KeyBlock - 1) / kS8KeyBlock;
  const auto scale_of = [&](const std::vector<double>& x, int first, int end, int head, int heads) {
    double most = 1e-30;
    for (int token = first; token < end; ++token) {
      for (int i = 0; i < d; ++i) most = std::max(most, std::fabs(x[at(token, head, heads) + i]));
    }
    return static_cast<float>(most / 127.0);
  };
  const auto write = [&](std::vector<double>& x, int token, int head, int heads, float scale,
                         int8_t* to) {
    for (int i = 0; i < d; ++i) {
      double& value = x[at(token, head, heads) + i];
      to[(int64_t{head} * tokens + token) * d + i] = quantized(value, scale);
      value = to[(int64_t{head} * tokens + token) * d + i] * static_cast<double>(scale);
    }
  };
  for (int head = 0; head < z.shape.heads; ++head) {
    for (int token = 0; token < tokens; ++token) {
      z.q_scale.push_back(scale_of(z.q, token, token + 1, head, z.shape.heads));
      write(z.q, token, head, z.shape.heads, z.q_scale.back(), q);
    }
  }
  for (int head = 0; head < z.shape.kv_heads; ++head) {
    for (int block = 0; block < blocks; ++block) {
      const int first = block * kS8KeyBlock, end = std::min(tokens, first + kS8KeyBlock);
      z.k_scale.push_back(scale_of(z.k, first, end, head, z.shape.kv_heads));
      for (int token = first; token < end; ++token)
        write(z.k, token, head, z.shape.kv_heads, z.k_scale.back(), k);
    }
  }
  z.p.q = q;
  z.p.k = k;
  z.p.q_scale = z.q_scale.data();
  z.p.k_scale = z.k_scale.data();
}

// v as ops/s8_values.h has it, with means and scales of any origin; bytes past the last key are not
// zeros, because their weights are.
void write_s8_values(Problem& z, std::mt19937& random) {
  const int tokens = z.shape.tokens, heads = z.shape.kv_heads, d = z.shape.head_dim;
  const int groups = (tokens + kS8ValueKeys - 1) / kS8ValueKeys;
  auto* v = storage<int8_t>(z.v_bytes, int64_t{heads} * groups * d * kS8ValueKeys);
  std::memset(v, 0x55, static_cast<size_t>(heads) * groups * d * kS8ValueKeys);
  std::uniform_real_distribution<float> scale(0.01f, 0.04f), mean(-1.0f, 1.0f);
  for (int channel = 0; channel < heads * d; ++channel) {
    z.v_scale.push_back(scale(random));
    z.v_mean.push_back(mean(random));
    const int head = channel / d, c = channel % d;
    for (int s = 0; s < groups * kS8ValueKeys; ++s) {
      const int group = s / kS8ValueKeys, position = s % kS8ValueKeys;
      const int token = group * kS8ValueKeys + s8_value_key(position);
      if (token >= tokens) continue;
      double& value = z.v[(static_cast<size_t>(token) * heads + head) * d + c];
      int8_t& byte = v[((int64_t{head} * groups + group) * d + c) * kS8ValueKeys + position];
      byte = quantized(value, z.v_scale.back());
      value = byte * static_cast<double>(z.v_scale.back()) + z.v_mean.back();
    }
  }
  z.p.v = v;
  z.p.v_scale = z.v_scale.data();
  z.p.v_mean = z.v_mean.data();
}

// `size` of q and k: large ones make few keys decide.
Problem make_problem(Kind kind, const Shape& shape, double size, uint32_t seed) {
  Problem z;
  z.shape = shape;
  z.kind = kind;
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const auto fill = [&](std::vector<double>& x, int heads, double scale) {
    x.resize(static_cast<size_t>(shape.tokens) * heads * shape.head_dim);
    for (double& value : x) value = scale * normal(random);
  };
  fill(z.q, shape.heads, size);
  fill(z.k, shape.kv_heads, size);
  fill(z.v, shape.kv_heads, 1.0);
  z.p.tokens = shape.tokens;
  z.p.heads = shape.heads;
  z.p.kv_heads = shape.kv_heads;
  z.p.head_dim = shape.head_dim;
  z.p.causal = shape.causal;
  if (kind == Kind::kS8 || kind == Kind::kS8Values) write_s8(z);
  if (kind == Kind::kBF16) write_floats<BFloat16>(z);
  if (kind == Kind::kF32) write_floats<float>(z);
  const int k_width = shape.kv_heads * shape.head_dim;
  z.p.ldv = k_width + 8;
  z.p.ldo = shape.heads * shape.head_dim + 8;
  if (kind == Kind::kF32) {
    auto* v = storage<float>(z.v_bytes, shape.tokens * z.p.ldv);
    write_rows(z.v, shape.tokens, k_width, v, z.p.ldv);
    z.p.v = v;
    z.p.out = storage<float>(z.out_bytes, (shape.tokens + 1) * z.p.ldo);
  } else if (kind == Kind::kS8Values) {
    write_s8_values(z, random);
    z.p.out = storage<BFloat16>(z.out_bytes, (shape.tokens + 1) * z.p.ldo);
  } else {
    auto* v = storage<BFloat16>(z.v_bytes, shape.tokens * z.p.ldv);
    write_rows(z.v, shape.tokens, k_width, v, z.p.ldv);
    z.p.v = v;
    z.p.out = storage<BFloat16>(z.out_bytes, (shape.tokens + 1) * z.p.ldo);
  }
  return z;
}

// [tokens, heads, head_dim]
std::vector<double> expected(const Problem& z) {
  const Shape& s = z.shape;
  const int d = s.head_dim;
  std::vector<double> out(static_cast<size_t>(s.tokens) * s.heads * d, 0.0), p(s.tokens);
  for (int t = 0; t < s.tokens; ++t) {
    for (int h = 0; h < s.heads; ++h) {
      const int kv = h / (s.heads / s.kv_heads), keys = s.causal ? t + 1 : s.tokens;
      double most = -1e300, total = 0.0;
      for (int key = 0; key < keys; ++key) {
        double dot = 0.0;
        for (int i = 0; i < d; ++i) {
          dot += z.q[(static_cast<size_t>(t) * s.heads + h) * d + i] *
                 z.k[(static_cast<size_t>(key) * s.kv_heads + kv) * d + i];
        }
        p[key] = dot / std::sqrt(d);
        most = std::fmax(most, p[key]);
      }
      double* row = &out[(static_cast<size_t>(t) * s.heads + h) * d];
      const auto mean = [&](int i) {
        return z.kind == Kind::kS8Values ? double{z.v_mean[static_cast<size_t>(kv) * d + i]} : 0.0;
      };
      for (int key = 0; key < keys; ++key) {
        double weight = std::exp(p[key] - most);
        total += weight;
        if (z.kind == Kind::kS8Values) {
          const auto first = p.begin() + key / kS8ValueKeys * kS8ValueKeys;
          const auto end = std::min(first + kS8ValueKeys, p.end());
          const double greatest = *std::max_element(first, end);
          weight = std::nearbyint(255.0 * std::exp(p[key] - greatest)) / 255.0 *
                   std::exp(greatest - most);
        }
        for (int i = 0; i < d; ++i) {
          row[i] += weight * (z.v[(static_cast<size_t>(key) * s.kv_heads + kv) * d + i] - mean(i));
        }
      }
      for (int i = 0; i < d; ++i) row[i] = row[i] / total + mean(i);
    }
  }
  return out;
}

double output(const Problem& z, int64_t index) {
  if (z.float_out()) return static_cast<const float*>(z.p.out)[index];
  return static_cast<double>(static_cast<float>(static_cast<const BFloat16*>(z.p.out)[index]));
}

// Relative distance of the whole output; what lies outside must be untouched.
void expect_right(const Problem& z, const std::vector<double>& want, const char* name) {
  const int width = z.shape.heads * z.shape.head_dim;
  double distance = 0.0, length = 0.0;
  for (int t = 0; t < z.shape.tokens; ++t) {
    for (int i = 0; i < width; ++i) {
      const double w = want[static_cast<size_t>(t) * width + i], got = output(z, t * z.p.ldo + i);
      if (std::isnan(w)) {
        EXPECT_TRUE(std::isnan(got)) << name << " token " << t << " column " << i;
        continue;
      }
      distance += (got - w) * (got - w);
      length += w * w;
    }
  }
  const double error = std::sqrt(distance / length);
  EXPECT_TRUE(error < (z.float_out() ? 1e-6 : 6e-3))
      << name << ": " << error << " tokens=" << z.shape.tokens << " heads=" << z.shape.heads << "/"
      << z.shape.kv_heads << " d=" << z.shape.head_dim << " causal=" << z.shape.causal;
  const int element = z.float_out() ? 4 : 2;
  const auto* bytes = reinterpret_cast<const uint8_t*>(z.p.out);
  int64_t touched = 0;
  for (int64_t row = 0; row <= z.shape.tokens; ++row) {
    const int64_t first = row < z.shape.tokens ? width : 0;
    for (int64_t i = (row * z.p.ldo + first) * element; i < (row + 1) * z.p.ldo * element; ++i)
      touched += bytes[i] != 0xff ? 1 : 0;
  }
  EXPECT_EQ(touched, 0) << name;
  EXPECT_EQ(machine.fault, nullptr) << name;
}

void run_grid(int blocks, int threads, std::function<void()> kernel) {
  std::memset(smem, 0x7f, sizeof(smem));  // NaN as bf16
  machine.fault = nullptr;
  machine.grid = {static_cast<unsigned>(blocks), 1, 1};
  machine.kernel = std::move(kernel);
  for (int block = 0; block < blocks; ++block) {
    machine.block = {static_cast<unsigned>(block), 0, 0};
    emulation::run_block(threads);
  }
}

}  // namespace
}  // namespace intaglio::cuda
