#include "quant/gptq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace intaglio {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 8;      // rows of weights that share a reading of the tables
constexpr double kDamping = 0.01;  // of a column's mean energy, as published

// kLanes sums, so that a compiler may keep them in vectors.
float dot(const float* a, const float* b, int64_t count) {
  std::array<float, kLanes> sums{};
  for (int64_t i = 0; i < count; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) sums[static_cast<size_t>(l)] += a[i + l] * b[i + l];
  return std::accumulate(sums.begin(), sums.end(), 0.0f);
}

}  // namespace

GptqRounding::GptqRounding(std::span<const float> x, int64_t cols)
    : rows_((static_cast<int64_t>(x.size()) / cols + kLanes - 1) / kLanes * kLanes) {
  const int64_t given = static_cast<int64_t>(x.size()) / cols;
  const auto n = static_cast<size_t>(cols), r = static_cast<size_t>(rows_);
  std::vector<double> energy(n);
  for (int64_t row = 0; row < given; ++row)
    for (size_t c = 0; c < n; ++c) {
      const double value = x[static_cast<size_t>(row) * n + c];
      energy[c] += value * value;
    }
  order_.resize(n);
  std::iota(order_.begin(), order_.end(), int64_t{0});
  std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
    return energy[static_cast<size_t>(a)] > energy[static_cast<size_t>(b)];
  });
  const double whole = std::accumulate(energy.begin(), energy.end(), 0.0);
  // Rows of zeros tell nothing: any damping rounds to nearest then.
  const double damping = whole > 0.0 ? kDamping * whole / static_cast<double>(n) : 1.0;

  inputs_.resize(n * r);
  best_.resize(n * r);
  for (size_t place = 0; place < n; ++place)
    for (int64_t row = 0; row < given; ++row)
      inputs_[place * r + static_cast<size_t>(row)] =
          x[static_cast<size_t>(row) * n + static_cast<size_t>(order_[place])];

  // The inverse of the columns from `place` on, the last one first: Sherman and Morrison's update.
  std::vector<double> inverse(r * r), moved(r);
  for (size_t i = 0; i < r; ++i) inverse[i * r + i] = 1.0 / damping;
  for (size_t place = n; place-- > 0;) {
    const float* const column = inputs_.data() + place * r;
    double growth = 1.0;
    for (size_t i = 0; i < r; ++i) {
      double sum = 0.0;
      for (size_t j = 0; j < r; ++j) sum += inverse[i * r + j] * double{column[j]};
      moved[i] = sum;
      growth += sum * double{column[i]};
    }
    for (size_t i = 0; i < r; ++i) {
      best_[place * r + i] = static_cast<float>(moved[i] / growth);
      const double factor = moved[i] / growth;
      for (size_t j = 0; j < r; ++j) inverse[i * r + j] -= factor * moved[j];
    }
  }
}

GptqRounding GptqRounding::of_inputs(std::span<const float> x, int64_t cols,
                                     std::span<const float> smooth, const Rotation& rotation) {
  std::vector<float> read(x.begin(), x.end());
  for (float* row = read.data(); row != read.data() + read.size(); row += cols) {
    if (!smooth.empty()) smooth_row(row, smooth.data(), cols, row);
    if (rotation.kind != RotationKind::kNone) rotate_row(row, cols, rotation.group);
    float most = 0.0f;
    for (int64_t c = 0; c < cols; ++c) most = std::max(most, std::fabs(row[c]));
    const float step = most / 127.0f;
    for (int64_t c = 0; c < cols && step > 0.0f; ++c) row[c] = std::nearbyint(row[c] / step) * step;
  }
  return {read, cols};
}

void GptqRounding::round_rows(const float* w, int64_t rows, int8_t* q, float* scale) const {
  for (int64_t first = 0; first < rows; first += kBlock)
    round_block(w + first * cols(), std::min(kBlock, rows - first), q + first * cols(),
                scale + first);
}

void GptqRounding::round_block(const float* w, int64_t rows, int8_t* q, float* scale) const {
  const int64_t k = cols();
  for (int64_t row = 0; row < rows; ++row) {
    float most = 0.0f;
    for (int64_t c = 0; c < k; ++c) most = std::max(most, std::fabs(w[row * k + c]));
    scale[row] = std::max(most / 127.0f, 1e-30f);
  }
  // What the columns that are done have changed of the outputs, of each row.
  std::vector<float> changed(static_cast<size_t>(rows * rows_));
  for (int64_t place = 0; place < k; ++place) {
    const int64_t c = order_[static_cast<size_t>(place)];
    const float* const input = inputs_.data() + place * rows_;
    const float* const best = best_.data() + place * rows_;
    for (int64_t row = 0; row < rows; ++row) {
      float* const change = changed.data() + row * rows_;
      const float weight = w[row * k + c];
      const float target = weight - dot(change, best, rows_);
      const float code = std::clamp(std::nearbyint(target / scale[row]), -127.0f, 127.0f);
      q[row * k + c] = static_cast<int8_t>(code);
      const float error = code * scale[row] - weight;
      for (int64_t i = 0; i < rows_; ++i) change[i] += error * input[i];
    }
  }
}

}  // namespace intaglio
