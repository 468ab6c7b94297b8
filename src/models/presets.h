// Schedules by name: presets are data of a model, and what is asked for is made of them, of flags
// and of the model's defaults in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

struct ModelInfo;

struct Preset {
  std::string name;
  int64_t steps = 0;
  double mu = 0.0, std = 1.5;        // of models whose schedule is normal
  std::optional<double> shift = {};  // of the others; nullopt: the scheduler's
  std::vector<float> guidance = {};  // one a step, in the order of sampling
};

// "7", "7,7,3" or "7x45,3x3" (value x count), in the order of sampling. kInvalidArgument names the
// item that is none of these, starting with `what`.
Expected<std::vector<float>> parse_guidance(std::string_view what, std::string_view text);
// The shortest of these forms: "7x45,3x3".
std::string guidance_text(std::span<const float> guidance);

// `table`: an object of name -> {"steps", "mu", "std", "shift", "guidance"}, the latter as above or
// a number.
Expected<std::vector<Preset>> read_presets(const JsonConfig& table);
// What a user asks for; nullopt: not said.
struct ScheduleRequest {
  std::optional<std::string> preset = {};  // letters of either case
  std::optional<int64_t> steps = {};
  std::optional<double> mu = {}, std = {}, shift = {};
  std::optional<std::vector<float>> guidance = {};  // one value, or one a step
};
struct Schedule {
  std::string preset = {};  // the name of what this is; empty: none of the model's
  int64_t steps = 0;
  std::optional<double> mu = {}, std = {};  // of models whose schedule is normal
  std::optional<double> shift = {};         // of the others; nullopt: the scheduler's
  std::vector<float> guidance = {};         // one a step

  std::string describe() const;  // "12 steps, TURBO_12: mu 0.5, std 1.75, guidance 7x11,3"
};

// Its schedule in words, or why this model cannot draw it.
std::string describe_preset(const ModelInfo& model, const Preset& preset);

// A preset by its name, with parts of it replaced by what is asked for beside it; else, if steps
// are asked for and nothing else and a published preset has as many, that one; else the model's
// defaults. kInvalidArgument: an unknown preset (lists the names), another number of steps than the
// preset's, guidance that does not fit the steps or the model.
Expected<Schedule> choose_schedule(const ModelInfo& model, const ScheduleRequest& request);

// Guidance scale of each step: one value for all, or one a step. kInvalidArgument if the count is
// neither or a value is not finite.
Expected<std::vector<float>> guidance_schedule(const std::vector<float>& values, int64_t steps);

// kInvalidArgument for guidance of a model that takes none.
Status check_guidance(const ModelInfo& model, std::span<const float> guidance);

}  // namespace intaglio
