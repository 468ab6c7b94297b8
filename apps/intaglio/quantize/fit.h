// What `intaglio quantize` fits by calibration: smoothing, and which linears stay floats.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/checkpoint_quantizer.h"
#include "models/fitted_linears.h"
#include "models/model.h"
#include "progress.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

struct FitFlags {
  std::vector<std::string> protect{};  // "auto" or "none" alone, or patterns
  std::optional<std::string> budget{}, calibration{}, calibration_size{}, calibration_model{};
  static constexpr int64_t kSteps = 8;
  std::optional<int64_t> steps{};
  std::string rounding = "nearest";

  bool is_auto() const { return protect.size() == 1 && protect.front() == "auto"; }
  // Patterns of linears that stay floats whatever their figures.
  std::vector<std::string> patterns() const;
};
// --protect, --budget, --rounding, --calibration and what begins with it.
void add_fit_flags(CLI::App& command, FitFlags& flags);

// What calibration is asked for, its numbers read.
struct FitRequest {
  FitOptions options;
  CalibrationOptions calibration;
  bool protects = false;  // --protect auto
  ProtectionBudget budget;

  bool is_needed() const { return options.smooth || options.gptq || protects; }
};
// kInvalidArgument names the flag. `group`: of the rotation, 0 for none.
Expected<FitRequest> fit_request(const FitFlags& flags, bool smooth, int64_t group);
// The prompts of a file, or those that come with the program, steps, and "WxH"; without it 0 x 0.
Expected<CalibrationOptions> calibration_options(const std::optional<std::string>& prompts,
                                                 int64_t steps,
                                                 const std::optional<std::string>& size);
// The flag of the size.
void add_calibration_size(CLI::App& command, std::optional<std::string>& size);
// A size of 0 x 0 is the largest, up to 512 x 512, that the model is meant for.
Expected<Calibration> calibrate_with_progress(const Context& context, const Model& model,
                                              CalibrationOptions options, Progress& progress);

// A file to be written, and what it was fitted to.
struct FittedPart {
  int transformer = 0;  // its number in the model
  std::shared_ptr<const Checkpoint> checkpoint;
  QuantizeOptions options;
  std::vector<FittedLinear> linears{};
};

// Calibrates, fits every part, protects within the budget, which is one of all parts and of `other`
// bytes, and adds what comes of it to the parts' options.
Status fit_parts(const Context& context, const Model& model, const FitRequest& request,
                 uint64_t other, std::vector<FittedPart>& parts, Progress& progress);

// Of a part: every linear with its figures.
nlohmann::ordered_json fit_json(const FittedPart& part);
// The same in lines: the mean and the worst error, and those that are protected.
std::string fit_text(const FittedPart& part);

}  // namespace intaglio::cli
