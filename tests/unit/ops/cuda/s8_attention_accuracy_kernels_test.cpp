// What int8 scores cost: attention over the numbers that the kernels quantize q and k to (run on
// the CPU, row_emulation.h) against attention over the heads themselves, both in float64, on heads
// like a model's: outlier channels and a mean that all keys share. The attention kernels are
// compared with the float formula on quantized heads elsewhere; this is about the int8 scheme of
// ops/attention.h and the kernels that follow it.
#include "emulated_qk_norm_rope.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kTokens = 384, kHeadDim = 256;

using Matrix = std::vector<double>;  // [kTokens, kHeadDim]

// Heads before their norm, and a weight a channel.
struct Heads {
  std::vector<float> weight, rows;
};

// Rows of normal numbers plus what all rows share; a few channels' weights are far above the
// others.
Heads random_heads(uint32_t seed, double outlier, double common) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Heads heads;
  std::vector<double> shared;
  for (int64_t c = 0; c < kHeadDim; ++c) {
    heads.weight.push_back(
        static_cast<float>(std::exp(0.3 * normal(random)) * (c % 64 == 7 ? outlier : 1.0)));
    shared.push_back(common * normal(random));
  }
  for (int64_t i = 0; i < kTokens * kHeadDim; ++i)
    heads.rows.push_back(
        static_cast<float>(normal(random) + shared[static_cast<size_t>(i % kHeadDim)]));
  return heads;
}

// Rows of unit mean square times the weights.
Matrix normed(const Heads& heads) {
  Matrix rows(heads.rows.begin(), heads.rows.end());
  for (int64_t t = 0; t < kTokens; ++t) {
    double* const row = rows.data() + t * kHeadDim;
    double squares = 0.0;
    for (int64_t c = 0; c < kHeadDim; ++c) squares += row[c] * row[c];
    const double inverse = 1.0 / std::sqrt(squares / kHeadDim);
    for (int64_t c = 0; c < kHeadDim; ++c) row[c] *= inverse * heads.weight[static_cast<size_t>(c)];
  }
  return rows;
}

// What the int8 numbers of the kernels stand for: of k without its mean.
struct Quantized {
  Matrix q, k;
};

Quantized quantized_by_kernels(const Heads& q, const Heads& k) {
  std::vector<float> cosine(kTokens * kHeadDim / 2, 1.0f), sine(cosine.size(), 0.0f);
  constexpr int64_t kBlocks = (kTokens + kS8KeyBlock - 1) / kS8KeyBlock;
  Memory<float> qk(2 * kTokens * kHeadDim), q_scale(kTokens), k_scale(kBlocks);
  Memory<float> q_weight(kHeadDim), k_weight(kHeadDim), workspace(kHeadDim * (kBlocks + 1));
  Memory<int8_t> q8(kTokens * kHeadDim), k8(kTokens * kHeadDim);
  std::copy(q.weight.begin(), q.weight.end(), q_weight.data());
  std::copy(k.weight.begin(), k.weight.end(), k_weight.data());
  for (int64_t t = 0; t < kTokens; ++t) {
    std::copy_n(q.rows.begin() + t * kHeadDim, kHeadDim, qk.data() + 2 * t * kHeadDim);
    std::copy_n(k.rows.begin() + t * kHeadDim, kHeadDim, qk.data() + (2 * t + 1) * kHeadDim);
  }
  QkNormRopeParams p;
  p.type = DType::kF32;
  p.q = qk.data();
  p.k = qk.data() + kHeadDim;
  p.ld = 2 * kHeadDim;
  p.q_weight = q_weight.data();
  p.k_weight = k_weight.data();
  p.cos = cosine.data();
  p.sin = sine.data();
  p.tokens = kTokens;
  p.heads = p.kv_heads = 1;
  p.head_dim = kHeadDim;
  p.q8 = q8.data();
  p.q_scale = q_scale.data();
  p.k8 = k8.data();
  p.k_scale = k_scale.data();
  p.workspace = workspace.data();
  run_type<F32>(p, false);
  Quantized result;
  for (int64_t i = 0; i < kTokens * kHeadDim; ++i) {
    const int64_t token = i / kHeadDim;
    result.q.push_back(double{q_scale[token]} * q8[i]);
    result.k.push_back(double{k_scale[token / kS8KeyBlock]} * k8[i]);
  }
  return result;
}

// What k would become with its mean: blocks of tokens with one scale each.
Matrix quantized_with_mean(Matrix k) {
  for (int64_t t = 0; t < kTokens; t += kS8KeyBlock) {
    double* const begin = k.data() + t * kHeadDim;
    double* const end = begin + std::min<int64_t>(kS8KeyBlock, kTokens - t) * kHeadDim;
    double most = 0.0;
    for (double* p = begin; p != end; ++p) most = std::max(most, std::abs(*p));
    for (double* p = begin; p != end; ++p) *p = std::nearbyint(*p * 127.0 / most) * most / 127.0;
  }
  return k;
}

Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v) {
  Matrix out(kTokens * kHeadDim, 0.0);
  std::vector<double> p(kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    double most = -1e300, sum = 0.0;
    for (int64_t s = 0; s < kTokens; ++s) {
      double dot = 0.0;
      for (int64_t c = 0; c < kHeadDim; ++c)
        dot += q[static_cast<size_t>(t * kHeadDim + c)] * k[static_cast<size_t>(s * kHeadDim + c)];
      p[static_cast<size_t>(s)] = dot / std::sqrt(static_cast<double>(kHeadDim));
      most = std::max(most, p[static_cast<size_t>(s)]);
    }
    for (double& value : p) sum += value = std::exp(value - most);
    for (int64_t s = 0; s < kTokens; ++s) {
      for (int64_t c = 0; c < kHeadDim; ++c)
        out[static_cast<size_t>(t * kHeadDim + c)] +=
            p[static_cast<size_t>(s)] / sum * v[static_cast<size_t>(s * kHeadDim + c)];
    }
  }
  return out;
}

struct Agreement {
  double cosine, relative_error;
};

Agreement compare(const Matrix& a, const Matrix& b) {
  double ab = 0.0, aa = 0.0, bb = 0.0, difference = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return {ab / std::sqrt(aa * bb), std::sqrt(difference / bb)};
}

struct Agreements {
  Agreement quantized, with_mean;
};

Agreements agreements(double outlier, double common) {
  const Heads q = random_heads(1, outlier, common), k = random_heads(2, outlier, common);
  const Matrix v = normed(random_heads(3, 1.0, 0.5));
  const Matrix exact = attention(normed(q), normed(k), v);
  const Quantized quantized = quantized_by_kernels(q, k);
  return {compare(attention(quantized.q, quantized.k, v), exact),
          compare(attention(quantized.q, quantized_with_mean(normed(k)), v), exact)};
}

// A step is absmax / 127, absmax of 256 numbers of unit deviation about 4 here: an error of 0.009
// of an element's deviation, 0.013 of a logit's with both operands. Logits have a deviation near
// 1.2: weights are off by 1.5%, in an output that averages hundreds of them by a fraction of that
// (0.36% found).
TEST(S8Attention, PlainHeadsAgree) {
  const Agreement a = agreements(1.0, 0.0).quantized;
  EXPECT_GT(a.cosine, 0.99998);
  EXPECT_LT(a.relative_error, 0.008);
}

// Outlier channels four times the others take their range: the step is four times as coarse, and so
// is the error (1.6% found).
TEST(S8Attention, OutlierChannelsAgree) {
  const Agreement a = agreements(4.0, 0.0).quantized;
  EXPECT_GT(a.cosine, 0.9996);
  EXPECT_LT(a.relative_error, 0.032);
}

// What all keys share costs range but says nothing: without it the error is less.
TEST(S8Attention, TakingTheMeanAwayHelps) {
  const auto [without, with] = agreements(2.0, 3.0);
  EXPECT_LT(without.relative_error, 0.8 * with.relative_error);
  EXPECT_GT(without.cosine, 0.999999);
}

}  // namespace
}  // namespace intaglio::cuda
