#include "models/parts/schedules.h"

#include <cmath>

namespace intaglio {

std::vector<float> shifted_sigmas(const std::vector<float>& sigmas, double shift) {
  std::vector<float> result;
  result.reserve(sigmas.size() + 1);
  for (float sigma : sigmas) {
    const double s = sigma;
    result.push_back(static_cast<float>(shift * s / (1.0 + (shift - 1.0) * s)));
  }
  result.push_back(0.0f);
  return result;
}

const ConfigTable& flow_match_scheduler_keys() {
  using enum KeyRole;
  constexpr std::string_view kPlain = "noise levels are those of the shift";
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["FlowMatchEulerDiscreteScheduler"])"},
                  {"shift"},
                  {"use_dynamic_shifting"},
                  {"base_shift"},
                  {"max_shift"},
                  {"base_image_seq_len"},
                  {"max_image_seq_len"},
                  {"time_shift_type"},
                  {"shift_terminal"},
                  {"invert_sigmas", kOnly, kFalse, kPlain},
                  {"use_karras_sigmas", kOnly, kFalse, kPlain},
                  {"use_exponential_sigmas", kOnly, kFalse, kPlain},
                  {"use_beta_sigmas", kOnly, kFalse, kPlain},
                  {"stochastic_sampling", kOnly, kFalse, "steps are Euler's"},
                  {"num_train_timesteps", kHarmless}});
  return table;
}

Expected<FlowMatchScheduler> read_flow_match_scheduler(const JsonConfig& json) {
  constexpr int64_t kMostTokens = int64_t{1} << 30;
  FlowMatchScheduler s;
  INTAGLIO_ASSIGN(s.shift, json.number_or("shift", s.shift));
  INTAGLIO_ASSIGN(s.dynamic, json.boolean_or("use_dynamic_shifting", false));
  INTAGLIO_ASSIGN(s.base_shift, json.number_or("base_shift", s.base_shift));
  INTAGLIO_ASSIGN(s.max_shift, json.number_or("max_shift", s.max_shift));
  INTAGLIO_ASSIGN(s.base_tokens,
                  json.integer_or("base_image_seq_len", s.base_tokens, 0, kMostTokens));
  INTAGLIO_ASSIGN(s.max_tokens, json.integer_or("max_image_seq_len", s.max_tokens, 0, kMostTokens));
  INTAGLIO_ASSIGN(s.terminal, json.number_or("shift_terminal", 0.0));
  INTAGLIO_ASSIGN(const std::string type, json.string_or("time_shift_type", "exponential"));
  s.linear = type == "linear";
  if (!(s.shift > 0.0))
    return make_error(ErrorCode::kBadFormat, "{}shift is {}; expected a positive number",
                      json.where(), s.shift);
  if (!s.linear && type != "exponential")
    return make_error(ErrorCode::kUnsupported,
                      "{}time_shift_type: supported is \"exponential\" or \"linear\"",
                      json.where());
  if (s.base_tokens == s.max_tokens)
    return make_error(ErrorCode::kBadFormat,
                      "{}max_image_seq_len is base_image_seq_len; expected another length",
                      json.where());
  if (!(s.terminal >= 0.0 && s.terminal < 1.0))
    return make_error(ErrorCode::kBadFormat, "{}shift_terminal is {}; expected 0 to below 1",
                      json.where(), s.terminal);
  return s;
}

std::vector<float> flow_match_sigmas(const FlowMatchScheduler& scheduler, int64_t steps,
                                     int64_t image_tokens) {
  const double slope = (scheduler.max_shift - scheduler.base_shift) /
                       static_cast<double>(scheduler.max_tokens - scheduler.base_tokens);
  const double mu =
      scheduler.base_shift + slope * static_cast<double>(image_tokens - scheduler.base_tokens);
  return flow_match_sigmas_at(scheduler, steps, mu);
}

std::vector<float> flow_match_sigmas_at(const FlowMatchScheduler& scheduler, int64_t steps,
                                        double mu) {
  const double m = scheduler.linear ? mu : std::exp(mu);
  std::vector<double> levels;
  for (int64_t i = 0; i < steps; ++i) {
    const auto u = static_cast<float>(1.0 - static_cast<double>(i) / static_cast<double>(steps));
    const double shift = scheduler.shift;
    levels.push_back(scheduler.dynamic ? m / (m + (1.0 / u - 1.0))
                                       : shift * u / (1.0 + (shift - 1.0) * u));
  }
  if (scheduler.terminal > 0.0 && levels.back() < 1.0) {
    const double stretch = (1.0 - scheduler.terminal) / (1.0 - levels.back());
    for (double& level : levels) level = 1.0 - (1.0 - level) * stretch;
  }
  std::vector<float> sigmas(levels.begin(), levels.end());
  sigmas.push_back(0.0f);
  return sigmas;
}

}  // namespace intaglio
