// What int8 scores cost: attention over quantized heads against attention over the heads themselves, both in float64, on numbers like a model's: normed
// heads with outlier channels and a mean that all keys share. The kernels are compared with the float formula on quantized heads elsewhere; this is about
// the scheme of ops/attention.h itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "ops/attention.h"

namespace intaglio {
namespace {

constexpr int64_t kTokens = 384, kHeadDim = 256;

using Matrix = std::vector<double>;  // [kTokens, kHeadDim]

// Rows of unit mean square times a weight a channel, with a few channels far above the others, plus what all rows share.
Matrix normed_heads(uint32_t seed, double outlier, double common) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> weight(kHeadDim), shared(kHeadDim);
  for (int64_t c = 0; c < kHeadDim; ++c) {
    weight[static_cast<size_t>(c)] = std::exp(0.3 * normal(random)) * (c % 64 == 7 ? outlier : 1.0);
    shared[static_cast<size_t>(c)] = common * normal(random);
  }
  Matrix rows(kTokens * kHeadDim);
  for (int64_t t = 0; t < kTokens; ++t) {
    double squares = 0.0;
    double* const row = rows.data() + t * kHeadDim;
    for (int64_t c = 0; c < kHeadDim; ++c) {
      row[c] = normal(random) + shared[static_cast<size_t>(c)];
      squares += row[c] * row[c];
    }
    const double inverse = 1.0 / std::sqrt(squares / kHeadDim);
    for (int64_t c = 0; c < kHeadDim; ++c) row[c] *= inverse * weight[static_cast<size_t>(c)];
  }
  return rows;
}

// `count` rows from `first` with one scale.
void quantize_together(Matrix& m, int64_t first, int64_t count) {
  double* const begin = m.data() + first * kHeadDim;
  double* const end = begin + count * kHeadDim;
  double most = 0.0;
  for (double* p = begin; p != end; ++p) most = std::max(most, std::abs(*p));
  const double scale = most / 127.0;
  for (double* p = begin; p != end; ++p) *p = std::nearbyint(*p / scale) * scale;
}

// A scale a token for q; for k a scale for kS8KeyBlock tokens, the mean over the tokens taken away first.
void quantize(Matrix& q, Matrix& k, bool without_mean) {
  for (int64_t t = 0; t < kTokens; ++t) quantize_together(q, t, 1);
  for (int64_t c = 0; c < kHeadDim && without_mean; ++c) {
    double mean = 0.0;
    for (int64_t t = 0; t < kTokens; ++t) mean += k[static_cast<size_t>(t * kHeadDim + c)];
    mean /= kTokens;
    for (int64_t t = 0; t < kTokens; ++t) k[static_cast<size_t>(t * kHeadDim + c)] -= mean;
  }
  for (int64_t t = 0; t < kTokens; t += kS8KeyBlock)
    quantize_together(k, t, std::min(kS8KeyBlock, kTokens - t));
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

Agreement agreement(double outlier, double common, bool without_mean) {
  Matrix q = normed_heads(1, outlier, common), k = normed_heads(2, outlier, common);
  const Matrix v = normed_heads(3, 1.0, 0.5);
  const Matrix exact = attention(q, k, v);
  quantize(q, k, without_mean);
  return compare(attention(q, k, v), exact);
}

// A step is absmax / 127, absmax of 256 numbers of unit deviation about 4 here: an error of 0.009 of an element's deviation, 0.013 of a logit's with both
// operands. Logits have a deviation near 1.2: weights are off by 1.5%, in an output that averages hundreds of them by a fraction of that (0.36% found).
TEST(S8Attention, PlainHeadsAgree) {
  const Agreement a = agreement(1.0, 0.0, true);
  EXPECT_GT(a.cosine, 0.99998);
  EXPECT_LT(a.relative_error, 0.008);
}

// Outlier channels four times the others take their range: the step is four times as coarse, and so is the error (1.6% found).
TEST(S8Attention, OutlierChannelsAgree) {
  const Agreement a = agreement(4.0, 0.0, true);
  EXPECT_GT(a.cosine, 0.9996);
  EXPECT_LT(a.relative_error, 0.032);
}

// What all keys share costs range but says nothing: without it the error is less.
TEST(S8Attention, TakingTheMeanAwayHelps) {
  const Agreement with = agreement(2.0, 3.0, false), without = agreement(2.0, 3.0, true);
  EXPECT_LT(without.relative_error, 0.8 * with.relative_error);
  EXPECT_GT(without.cosine, 0.999999);
}

}  // namespace
}  // namespace intaglio
