#include "quant/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/philox.h"

namespace intaglio {
namespace {

std::vector<float> normal(uint64_t seed, int64_t count) {
  std::vector<float> values(static_cast<size_t>((count + 3) / 4 * 4));
  fill_normal(seed, values.data(), static_cast<int64_t>(values.size()));
  values.resize(static_cast<size_t>(count));
  return values;
}

// `rows` mixtures of `rank` directions, as neighbouring tokens are, and a little of each its own.
std::vector<float> correlated(int64_t rows, int64_t cols, int64_t rank) {
  const std::vector<float> directions = normal(1, rank * cols), mixture = normal(2, rows * rank);
  std::vector<float> x = normal(3, rows * cols);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      float sum = 0.1f * x[static_cast<size_t>(r * cols + c)];
      for (int64_t d = 0; d < rank; ++d)
        sum += mixture[static_cast<size_t>(r * rank + d)] *
               directions[static_cast<size_t>(d * cols + c)];
      x[static_cast<size_t>(r * cols + c)] = sum;
    }
  return x;
}

struct Rounded {
  std::vector<int8_t> q;
  std::vector<float> scale;
};

Rounded nearest(const std::vector<float>& w, int64_t rows, int64_t cols) {
  Rounded out{std::vector<int8_t>(w.size()), std::vector<float>(static_cast<size_t>(rows))};
  for (int64_t r = 0; r < rows; ++r) {
    const auto row = w.begin() + r * cols;
    float most = 0;
    for (int64_t c = 0; c < cols; ++c) most = std::max(most, std::fabs(row[c]));
    out.scale[static_cast<size_t>(r)] = most / 127;
    for (int64_t c = 0; c < cols; ++c)
      out.q[static_cast<size_t>(r * cols + c)] =
          static_cast<int8_t>(std::nearbyint(row[c] / (most / 127)));
  }
  return out;
}

Rounded gptq(const std::vector<float>& w, int64_t rows, int64_t cols,
             const GptqRounding& rounding) {
  Rounded out{std::vector<int8_t>(w.size()), std::vector<float>(static_cast<size_t>(rows))};
  rounding.round_rows(w.data(), rows, out.q.data(), out.scale.data());
  return out;
}

// ||(s q - w) x^T|| / ||w x^T||
double output_error(const std::vector<float>& w, const Rounded& rounded,
                    const std::vector<float>& x, int64_t cols) {
  double difference = 0.0, whole = 0.0;
  for (size_t r = 0; r < rounded.scale.size(); ++r)
    for (size_t i = 0; i < x.size() / static_cast<size_t>(cols); ++i) {
      double change = 0.0, sum = 0.0;
      for (size_t c = 0; c < static_cast<size_t>(cols); ++c) {
        const size_t at = r * static_cast<size_t>(cols) + c;
        const double value = x[i * static_cast<size_t>(cols) + c];
        change += (double{rounded.scale[r]} * rounded.q[at] - double{w[at]}) * value;
        sum += double{w[at]} * value;
      }
      difference += change * change;
      whole += sum * sum;
    }
  return std::sqrt(difference / whole);
}

// The published form: columns in the same order, the inverse of x^T x + damping I, each column's
// error over its diagonal pushed onto those that follow, the inverse's row and column removed.
Rounded published(const std::vector<float>& w, int64_t rows, const std::vector<float>& x,
                  int64_t cols) {
  const auto k = static_cast<size_t>(cols);
  const size_t given = x.size() / k;
  std::vector<double> h(k * k), energy(k);
  for (size_t i = 0; i < given; ++i)
    for (size_t a = 0; a < k; ++a)
      for (size_t b = 0; b < k; ++b) h[a * k + b] += double{x[i * k + a]} * double{x[i * k + b]};
  for (size_t c = 0; c < k; ++c) energy[c] = h[c * k + c];
  const double damping =
      0.01 * std::accumulate(energy.begin(), energy.end(), 0.0) / static_cast<double>(k);
  for (size_t c = 0; c < k; ++c) h[c * k + c] += damping;
  // Gauss and Jordan.
  std::vector<double> inverse(k * k);
  for (size_t c = 0; c < k; ++c) inverse[c * k + c] = 1.0;
  for (size_t p = 0; p < k; ++p) {
    const double pivot = h[p * k + p];
    for (size_t c = 0; c < k; ++c) {
      h[p * k + c] /= pivot;
      inverse[p * k + c] /= pivot;
    }
    for (size_t r = 0; r < k; ++r) {
      if (r == p) continue;
      const double factor = h[r * k + p];
      for (size_t c = 0; c < k; ++c) {
        h[r * k + c] -= factor * h[p * k + c];
        inverse[r * k + c] -= factor * inverse[p * k + c];
      }
    }
  }
  std::vector<size_t> order(k);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return energy[a] > energy[b]; });
  Rounded out = nearest(w, rows, cols);
  std::vector<double> moved(w.begin(), w.end());
  for (const size_t c : order) {
    for (int64_t r = 0; r < rows; ++r) {
      double* const row = moved.data() + static_cast<size_t>(r) * k;
      const double scale = double{out.scale[static_cast<size_t>(r)]};
      const double code = std::clamp(std::nearbyint(row[c] / scale), -127.0, 127.0);
      out.q[static_cast<size_t>(r) * k + c] = static_cast<int8_t>(code);
      const double error = (row[c] - code * scale) / inverse[c * k + c];
      for (size_t j = 0; j < k; ++j) row[j] -= error * inverse[c * k + j];
    }
    const double pivot = inverse[c * k + c];
    for (size_t a = 0; a < k; ++a) {
      if (a == c) continue;
      const double factor = inverse[a * k + c] / pivot;
      for (size_t b = 0; b < k; ++b) inverse[a * k + b] -= factor * inverse[c * k + b];
    }
    for (size_t b = 0; b < k; ++b) inverse[c * k + b] = inverse[b * k + c] = 0.0;
  }
  return out;
}

TEST(GptqRounding, GivesTheNumbersOfThePublishedForm) {
  constexpr int64_t kRows = 5, kCols = 48;
  const std::vector<float> w = normal(7, kRows * kCols);
  for (const int64_t given : {1, 7, 16, 40, 100}) {
    SCOPED_TRACE(given);
    const std::vector<float> x = correlated(given, kCols, 3);
    const Rounded ours = gptq(w, kRows, kCols, GptqRounding(x, kCols));
    const Rounded theirs = published(w, kRows, x, kCols);
    EXPECT_EQ(ours.scale, theirs.scale);
    // Sums in float may tip a code that lies half-way, and then those that follow it.
    int64_t apart = 0;
    for (size_t i = 0; i < ours.q.size(); ++i) apart += ours.q[i] != theirs.q[i];
    EXPECT_LE(apart, static_cast<int64_t>(ours.q.size()) / 50);
    EXPECT_NEAR(output_error(w, ours, x, kCols), output_error(w, theirs, x, kCols),
                0.02 * output_error(w, theirs, x, kCols));
  }
}

// On other rows of the same kind than those it was fitted to.
TEST(GptqRounding, HalvesTheErrorOfCorrelatedInputs) {
  constexpr int64_t kRows = 24, kCols = 96, kGiven = 64;
  const std::vector<float> w = normal(7, kRows * kCols);
  const std::vector<float> all = correlated(2 * kGiven, kCols, 8);
  const std::vector<float> fit(all.begin(), all.begin() + kGiven * kCols);
  const std::vector<float> rest(all.begin() + kGiven * kCols, all.end());
  const double before = output_error(w, nearest(w, kRows, kCols), rest, kCols);
  const double after =
      output_error(w, gptq(w, kRows, kCols, GptqRounding(fit, kCols)), rest, kCols);
  EXPECT_LT(after, 0.5 * before);
}

TEST(GptqRounding, OfInputsThatTellNothingIsNearest) {
  constexpr int64_t kRows = 9, kCols = 20;
  const std::vector<float> w = normal(7, kRows * kCols);
  const std::vector<float> zeros(static_cast<size_t>(3 * kCols));
  const Rounded ours = gptq(w, kRows, kCols, GptqRounding(zeros, kCols));
  const Rounded plain = nearest(w, kRows, kCols);
  EXPECT_EQ(ours.q, plain.q);
  EXPECT_EQ(ours.scale, plain.scale);
}

TEST(GptqRounding, ARowDependsOnNoOther) {
  constexpr int64_t kRows = 19, kCols = 32;
  const std::vector<float> w = normal(7, kRows * kCols);
  const GptqRounding rounding(correlated(24, kCols, 4), kCols);
  const Rounded all = gptq(w, kRows, kCols, rounding);
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<int8_t> q(kCols);
    float scale = 0;
    rounding.round_rows(w.data() + r * kCols, 1, q.data(), &scale);
    EXPECT_EQ(scale, all.scale[static_cast<size_t>(r)]);
    EXPECT_TRUE(std::equal(q.begin(), q.end(), all.q.begin() + r * kCols)) << r;
  }
}

TEST(GptqRounding, ARowOfZerosStaysOne) {
  const std::vector<float> w(16);
  const Rounded zeros = gptq(w, 1, 16, GptqRounding(normal(1, 32), 16));
  EXPECT_EQ(zeros.q, std::vector<int8_t>(16));
  EXPECT_EQ(zeros.scale.front(), 1e-30f);
}

}  // namespace
}  // namespace intaglio
