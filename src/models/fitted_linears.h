// A quantized form fitted to each linear by what calibration saw, and which linears are better left
// as floats.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/calibration.h"
#include "models/parts/weights.h"
#include "models/smoothing.h"

namespace intaglio {

struct FitOptions {
  bool smooth = false;
  int64_t group = 0;  // as QuantizeOptions::group; 0: nothing is turned
  bool gptq = false;  // rounded by what they read (quant/gptq.h)
};

struct FittedLinear {
  NamedLinear linear;
  int64_t rows = 0;  // calibrated ones
  // Relative to the float linear's output, over those rows (LinearTrial); without smoothing, and as
  // it is written; by gptq, over rows that it was not fitted to. 0 where no pass ran it.
  double unsmoothed_error = 0.0, error = 0.0;
  std::vector<float> smooth;  // [k], or empty: not smoothed
  double alpha = 0.0;         // of smooth
  double gain = 0.0;          // CalibratedLinear::gain
  uint64_t growth = 0;        // bytes that the file grows by if it stays floats
  bool is_protected = false;

  int64_t outputs() const;
  // Its share in the model's velocity error: the errors of linears are independent, so their
  // squares add up.
  double share() const { return gain * error; }
};

// Called with linears done and all of them.
using FitProgress = std::function<void(int64_t, int64_t)>;

// Of the linears whose parts are all in `quantized`. Smoothing is by the alpha of 0.1, 0.2, ... 0.9
// whose error over the calibrated rows is least, or none where that is better; linears with no
// input_scale are not smoothed. Of a linear's outputs at most 2048, evenly apart, stand for all.
// One linear at a time is in memory.
Expected<std::vector<FittedLinear>> fit_linears(const Context& context, TensorSource& source,
                                                std::span<const CalibratedLinear> linears,
                                                const std::set<std::string>& quantized,
                                                const FitOptions& options,
                                                const FitProgress& progress);

// How far protection goes.
struct ProtectionBudget {
  std::optional<uint64_t> bytes{};  // of all files together
  std::optional<double> error{};    // the largest of a linear that is quantized
};

// Sets is_protected. By error: of every linear above it. By bytes: those first whose bytes take the
// most off the squared velocity error, each that still fits. `bytes`: of the files as they are
// planned. kInvalidArgument if that is more than the budget.
Status protect(std::span<FittedLinear* const> linears, const ProtectionBudget& budget,
               uint64_t bytes);

// sqrt of the sum of squared shares of those that are not protected: what the velocity is off by.
double velocity_error(std::span<const FittedLinear> linears);

// What smoothing makes of the checkpoint: of the linears that are not protected.
Expected<FoldedSmoothing> fold(TensorSource& source, std::span<const FittedLinear> linears,
                               const std::set<std::string>& quantized);

}  // namespace intaglio
