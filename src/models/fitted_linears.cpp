#include "models/fitted_linears.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/memory_info.h"
#include "core/parallel_tasks.h"
#include "models/linear_trial.h"
#include "quant/int8_rows.h"

namespace intaglio {
namespace {

constexpr int64_t kMostOutputs = 2048;
constexpr int kAlphas = 10;  // tenths

// A linear's weights as far as a trial needs them.
struct TrialWeights {
  std::vector<float> rows;    // [n, k], evenly apart
  std::vector<float> absmax;  // [k], of all rows
  DType stored = DType::kF32;
};

Expected<TrialWeights> read_weights(const Context& context, TensorSource& source,
                                    const NamedLinear& linear) {
  const auto k = static_cast<size_t>(linear.k);
  const int64_t n = std::accumulate(linear.rows.begin(), linear.rows.end(), int64_t{0});
  const int64_t stride = (n + kMostOutputs - 1) / kMostOutputs;
  TrialWeights weights{.rows = {}, .absmax = std::vector<float>(k)};
  std::vector<float> piece;
  for (size_t i = 0; i < linear.names.size(); ++i) {
    INTAGLIO_ASSIGN(const LoadedLinear loaded,
                    source.linear(context, linear.names[i], Shape{linear.rows[i], linear.k}));
    const StoredLinear& w = loaded.linear;
    if (w.encoding == Encoding::kFloat && !w.decoded) weights.stored = w.values.dtype;
    // A few rows at a time: threads share their columns.
    constexpr int64_t kPiece = 64;
    for (int64_t first = 0; first < w.n(); first += kPiece) {
      const int64_t count = std::min(kPiece, w.n() - first);
      piece.resize(static_cast<size_t>(count) * k);
      INTAGLIO_TRY(parallel_tasks(context, count, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r)
          dequantize_row(w, first + r, piece.data() + r * linear.k);
      }));
      for (int64_t r = 0; r < count; ++r) {
        const float* const row = piece.data() + r * linear.k;
        for (size_t c = 0; c < k; ++c)
          weights.absmax[c] = std::max(weights.absmax[c], std::fabs(row[c]));
        if ((first + r) % stride == 0) weights.rows.insert(weights.rows.end(), row, row + k);
      }
    }
  }
  return weights;
}

Status fit(const Context& context, TensorSource& source, const CalibratedLinear& calibrated,
           const FitOptions& options, FittedLinear& fitted) {
  const NamedLinear& linear = fitted.linear;
  INTAGLIO_ASSIGN(const TrialWeights weights, read_weights(context, source, linear));
  INTAGLIO_ASSIGN(const LinearTrial trial, LinearTrial::make(context, calibrated.rows, weights.rows,
                                                             linear.k, weights.stored));
  const Rotation rotation = largest_rotation(linear.k, options.group);
  INTAGLIO_ASSIGN(fitted.unsmoothed_error, trial.error(context, {}, rotation));
  fitted.error = fitted.unsmoothed_error;
  const bool smooths = options.smooth && linear.input_scale.of != InputScale::Of::kNothing;
  for (int tenth = 1; smooths && tenth < kAlphas; ++tenth) {
    const double alpha = tenth / double{kAlphas};
    std::vector<float> smooth = smoothing(calibrated.absmax, weights.absmax, alpha);
    INTAGLIO_ASSIGN(const double error, trial.error(context, smooth, rotation));
    if (error >= fitted.error) continue;
    fitted.error = error;
    fitted.alpha = alpha;
    fitted.smooth = std::move(smooth);
  }
  if (!options.gptq) return {};
  INTAGLIO_ASSIGN(fitted.error, trial.gptq_error(context, fitted.smooth, rotation));
  return {};
}

bool are_all_in(const std::vector<std::string>& names, const std::set<std::string>& set) {
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return set.contains(name); });
}

}  // namespace

int64_t FittedLinear::outputs() const {
  return std::accumulate(linear.rows.begin(), linear.rows.end(), int64_t{0});
}

Expected<std::vector<FittedLinear>> fit_linears(const Context& context, TensorSource& source,
                                                std::span<const CalibratedLinear> linears,
                                                const std::set<std::string>& quantized,
                                                const FitOptions& options,
                                                const FitProgress& progress) {
  std::vector<FittedLinear> fitted;
  int64_t done = 0;
  for (const CalibratedLinear& one : linears) {
    INTAGLIO_TRY(check_cancelled(context));
    progress(done++, static_cast<int64_t>(linears.size()));
    if (!are_all_in(one.linear.names, quantized)) continue;
    FittedLinear linear{.linear = one.linear, .rows = one.kept, .smooth = {}, .gain = one.gain};
    if (one.kept > 0) INTAGLIO_TRY(fit(context, source, one, options, linear));
    fitted.push_back(std::move(linear));
  }
  progress(done, done);
  return fitted;
}

Status protect(std::span<FittedLinear* const> linears, const ProtectionBudget& budget,
               uint64_t bytes) {
  if (budget.error)
    for (FittedLinear* const one : linears) one->is_protected = one->error > *budget.error;
  if (!budget.bytes) return {};
  if (bytes > *budget.bytes) {
    return make_error(ErrorCode::kInvalidArgument,
                      "budget: {} ({} bytes) is less than the {} ({} bytes) of a file without a "
                      "protected linear",
                      format_bytes(*budget.bytes), *budget.bytes, format_bytes(bytes), bytes);
  }
  std::vector<FittedLinear*> ranked(linears.begin(), linears.end());
  const auto worth = [](const FittedLinear* one) {
    return one->share() * one->share() / static_cast<double>(std::max<uint64_t>(1, one->growth));
  };
  std::stable_sort(ranked.begin(), ranked.end(), [&](const FittedLinear* a, const FittedLinear* b) {
    return worth(a) > worth(b);
  });
  for (FittedLinear* const one : ranked) {
    if (one->share() == 0.0 || one->growth > *budget.bytes - bytes) continue;
    one->is_protected = true;
    bytes += one->growth;
  }
  return {};
}

double velocity_error(std::span<const FittedLinear> linears) {
  double squares = 0.0;
  for (const FittedLinear& one : linears)
    if (!one.is_protected) squares += one.share() * one.share();
  return std::sqrt(squares);
}

Expected<FoldedSmoothing> fold(TensorSource& source, std::span<const FittedLinear> linears,
                               const std::set<std::string>& quantized) {
  std::set<std::string> written = quantized;
  for (const FittedLinear& one : linears)
    if (one.is_protected)
      for (const std::string& name : one.linear.names) written.erase(name);
  FoldedSmoothing folded;
  for (const FittedLinear& one : linears) {
    if (one.is_protected || one.smooth.empty()) continue;
    const InputScale& scale = one.linear.input_scale;
    if (scale.of == InputScale::Of::kVector) {
      INTAGLIO_ASSIGN(const Tensor tensor, source.tensor(scale.name, Shape{one.linear.k}));
      fold_into_vector(one.linear.names, one.smooth, scale.name, tensor.view, folded);
    } else if (scale.of == InputScale::Of::kRows) {
      fold_into_rows(one.linear.names, one.smooth, scale.name, !written.contains(scale.name),
                     folded);
    }
  }
  return folded;
}

}  // namespace intaglio
