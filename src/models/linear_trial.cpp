#include "models/linear_trial.h"

#include "core/memory.h"
#include "core/parallel_tasks.h"
#include "core/relative_error.h"
#include "core/round_floats.h"
#include "ops/linear.h"
#include "ops/quantize.h"
#include "quant/gptq.h"
#include "quant/int8_rows.h"

namespace intaglio {
namespace {

constexpr int64_t kRowGrain = 16;

// y of `weights`, F32 [m, n].
Expected<std::vector<float>> run(const Context& device, const LinearWeights& weights,
                                 const Activation& x) {
  Context context = device;
  INTAGLIO_ASSIGN(Arena arena, Arena::with_capacity(
                                   linear_scratch_bytes(context, weights, x.rows, DType::kF32)));
  context.scratch = &arena;
  std::vector<float> y(static_cast<size_t>(x.rows * weights.n));
  INTAGLIO_TRY(linear(context, weights, x, y.data(), DType::kF32, weights.n));
  return y;
}

}  // namespace

Expected<LinearTrial> LinearTrial::make(const Context& context, std::span<const float> x,
                                        std::span<const float> w, int64_t k, DType stored) {
  LinearTrial trial;
  trial.k_ = k;
  trial.m_ = static_cast<int64_t>(x.size()) / k;
  trial.n_ = static_cast<int64_t>(w.size()) / k;
  trial.stored_ = stored;
  trial.x_ = x;
  trial.w_ = w;
  const TensorView rows{w.data(), DType::kF32, Shape{trial.n_, k}};
  INTAGLIO_ASSIGN(const LinearWeights weights,
                  make_linear(context, LinearKind::kF32, GemmEpilogue::kNone,
                              {.parts = float_parts(std::span(&rows, 1))}));
  const Activation input{
      .dtype = DType::kF32, .data = const_cast<float*>(x.data()), .rows = trial.m_, .cols = k};
  INTAGLIO_ASSIGN(trial.exact_, run(context, weights, input));
  return trial;
}

// As a checkpoint's writer has them: smoothed weights are no longer numbers of the stored type.
Expected<LinearTrial::Codes> LinearTrial::nearest(const Context& context,
                                                  std::span<const float> smooth,
                                                  const Rotation& rotation) const {
  const auto k = static_cast<size_t>(k_);
  Codes codes{std::vector<int8_t>(w_.size()), std::vector<float>(static_cast<size_t>(n_))};
  const DType type = smooth.empty() ? stored_ : DType::kF32;
  INTAGLIO_TRY(parallel_tasks(context, n_, kRowGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(k), work(k);
    std::vector<std::byte> narrow(k * dtype_size(type));
    for (int64_t r = begin; r < end; ++r) {
      const float* const from = w_.data() + r * k_;
      for (size_t c = 0; c < k; ++c) row[c] = smooth.empty() ? from[c] : from[c] * smooth[c];
      convert_from_f32(row.data(), type, narrow.data(), k);
      quantize_stored_row(narrow.data(), type, k_, rotation, work.data(), codes.q.data() + r * k_,
                          &codes.scales[static_cast<size_t>(r)]);
    }
  }));
  return codes;
}

Expected<LinearTrial::Codes> LinearTrial::gptq(const Context& context,
                                               std::span<const float> smooth,
                                               const Rotation& rotation) const {
  const auto k = static_cast<size_t>(k_);
  const GptqRounding rounding =
      GptqRounding::of_inputs(x_.first(static_cast<size_t>(m_ / 2 * k_)), k_, smooth, rotation);
  Codes codes{std::vector<int8_t>(w_.size()), std::vector<float>(static_cast<size_t>(n_))};
  INTAGLIO_TRY(parallel_tasks(context, n_, kRowGrain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> rows(w_.begin() + begin * k_, w_.begin() + end * k_);
    for (int64_t r = 0; r < end - begin; ++r) {
      float* const row = rows.data() + r * k_;
      for (size_t c = 0; c < smooth.size(); ++c) row[c] *= smooth[c];
      if (rotation.kind != RotationKind::kNone) rotate_row(row, k_, rotation.group);
    }
    rounding.round_rows(rows.data(), end - begin, codes.q.data() + begin * static_cast<int64_t>(k),
                        codes.scales.data() + begin);
  }));
  return codes;
}

Expected<std::vector<float>> LinearTrial::product(const Context& context, const Codes& codes,
                                                  std::span<const float> smooth,
                                                  const Rotation& rotation) const {
  const StoredLinear part{.encoding = Encoding::kInt8Rows,
                          .values = {codes.q.data(), DType::kI8, Shape{n_, k_}},
                          .scales = {codes.scales.data(), DType::kF32, Shape{n_}},
                          .rotation = rotation};
  INTAGLIO_ASSIGN(const LinearWeights weights,
                  make_linear(context, LinearKind::kS8, GemmEpilogue::kNone, {.parts = {part}}));
  std::vector<float> x(x_.begin(), x_.end());
  if (!smooth.empty())
    for (int64_t r = 0; r < m_; ++r)
      smooth_row(x.data() + r * k_, smooth.data(), k_, x.data() + r * k_);
  std::vector<int8_t> read(x.size());
  std::vector<float> scale_row(static_cast<size_t>(m_));
  const Activation input = weights.input_at(read.data(), m_, scale_row.data());
  INTAGLIO_TRY(
      quantize_rows(context, {x.data(), DType::kF32, Shape{m_, k_}}, input, weights.columns()));
  return run(context, weights, input);
}

Expected<double> LinearTrial::error(const Context& context, std::span<const float> smooth,
                                    const Rotation& rotation) const {
  INTAGLIO_ASSIGN(const Codes codes, nearest(context, smooth, rotation));
  INTAGLIO_ASSIGN(const std::vector<float> y, product(context, codes, smooth, rotation));
  return relative_error(y, exact_);
}

Expected<double> LinearTrial::gptq_error(const Context& context, std::span<const float> smooth,
                                         const Rotation& rotation) const {
  if (m_ < 2) return error(context, smooth, rotation);
  INTAGLIO_ASSIGN(const Codes codes, gptq(context, smooth, rotation));
  INTAGLIO_ASSIGN(const std::vector<float> y, product(context, codes, smooth, rotation));
  const auto seen = static_cast<size_t>(m_ / 2 * n_);
  return relative_error(std::span(y).subspan(seen), std::span(exact_).subspan(seen));
}

}  // namespace intaglio
