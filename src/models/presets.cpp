#include "models/presets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/printable.h"
#include "models/model_info.h"

namespace intaglio {
namespace {

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool same_letters(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

std::vector<std::string> names_of(const std::vector<Preset>& presets) {
  std::vector<std::string> names;
  for (const Preset& preset : presets) names.push_back(preset.name);
  return names;
}

Expected<const Preset*> find_preset(const ModelInfo& model, std::string_view name) {
  for (const Preset& preset : model.presets)
    if (same_letters(preset.name, name)) return &preset;
  return make_error(
      ErrorCode::kInvalidArgument, "preset \"{}\": {} has {}", printable(name, 60), model.name,
      model.presets.empty() ? "none" : fmt::format("{}", fmt::join(names_of(model.presets), ", ")));
}

// The preset that steps alone ask for.
const Preset* preset_by_steps(const ModelInfo& model, const ScheduleRequest& r) {
  if (!r.steps || r.mu || r.std || r.shift || r.guidance || !model.presets_by_steps) return nullptr;
  for (const Preset& preset : model.presets) {
    const bool runs = check_guidance(model, preset.guidance).has_value();
    if (preset.steps == *r.steps && runs) return &preset;
  }
  return nullptr;
}

Status check_numbers(const Schedule& s) {
  if (s.mu && !std::isfinite(*s.mu))
    return make_error(ErrorCode::kInvalidArgument, "mu: expected a finite number, found {}", *s.mu);
  if (s.std && (!std::isfinite(*s.std) || *s.std <= 0.0))
    return make_error(ErrorCode::kInvalidArgument, "std: expected a positive number, found {}",
                      *s.std);
  if (s.shift && (!std::isfinite(*s.shift) || *s.shift <= 0.0))
    return make_error(ErrorCode::kInvalidArgument, "shift: expected a positive number, found {}",
                      *s.shift);
  return {};
}

// Where noise levels lie: what is asked for, else the preset's, else the model's.
Status choose_levels(const ModelInfo& model, const ScheduleRequest& r, const Preset* base,
                     Schedule& schedule) {
  if (model.schedule_is_normal) {
    if (r.shift)
      return make_error(ErrorCode::kInvalidArgument,
                        "shift: {} has none; mu and std say where noise levels lie", model.name);
    schedule.mu = r.mu.value_or(base != nullptr ? base->mu : model.default_mu);
    schedule.std = r.std.value_or(base != nullptr ? base->std : model.default_std);
    return check_numbers(schedule);
  }
  if (r.mu || r.std)
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: {} has none; the shift of its scheduler says where noise levels lie",
                      r.mu ? "mu" : "std", model.name);
  schedule.shift = r.shift || base == nullptr ? r.shift : base->shift;
  return check_numbers(schedule);
}

}  // namespace

Expected<std::vector<float>> parse_guidance(std::string_view what, std::string_view text) {
  std::vector<float> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    const size_t x = item.find('x');
    float value = 0.0f;
    int64_t count = 1;
    const bool counts = x == std::string_view::npos || parse_number(item.substr(x + 1), count);
    if (!counts || !parse_number(item.substr(0, x), value) || !std::isfinite(value)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: expected numbers separated by commas, each with a count if it is of "
                        "several steps (7x45,3x3), found \"{}\"",
                        what, printable(item, 60));
    }
    if (count < 1 || count > kMaxSteps - static_cast<int64_t>(values.size())) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: \"{}\" is a value x a count of steps; expected 1 to {} steps in all",
                        what, printable(item, 60), kMaxSteps);
    }
    values.insert(values.end(), static_cast<size_t>(count), value);
    begin = end + 1;
  }
  return values;
}

std::string guidance_text(std::span<const float> guidance) {
  std::vector<std::string> items;
  for (size_t i = 0; i < guidance.size();) {
    size_t end = i + 1;
    while (end < guidance.size() && guidance[end] == guidance[i]) ++end;
    items.push_back(end - i == 1 ? fmt::format("{}", guidance[i])
                                 : fmt::format("{}x{}", guidance[i], end - i));
    i = end;
  }
  return fmt::format("{}", fmt::join(items, ","));
}

Expected<std::vector<Preset>> read_presets(const JsonConfig& table) {
  std::vector<Preset> presets;
  for (const auto& [name, value] : table.json().items()) {
    INTAGLIO_ASSIGN(const JsonConfig entry, table.object(name));
    Preset preset{.name = name};
    INTAGLIO_ASSIGN(preset.steps, entry.integer("steps", 1, kMaxSteps));
    INTAGLIO_ASSIGN(preset.mu, entry.number_or("mu", preset.mu));
    INTAGLIO_ASSIGN(preset.std, entry.number_or("std", preset.std));
    if (entry.contains("shift")) {
      INTAGLIO_ASSIGN(preset.shift, entry.number("shift"));
      if (*preset.shift <= 0.0)
        return make_error(ErrorCode::kBadFormat, "{}shift: expected a positive number, found {}",
                          entry.where(), *preset.shift);
    }
    const auto same_name = [&name = name](const Preset& other) {
      return same_letters(other.name, name);
    };
    if (std::any_of(presets.begin(), presets.end(), same_name))
      return make_error(ErrorCode::kBadFormat, "{}: a preset of this name is there already",
                        entry.where());
    std::vector<float> guidance;
    if (!entry.contains("guidance"))
      return make_error(ErrorCode::kBadFormat, "{}guidance: missing", entry.where());
    if (entry.contains("guidance") && entry.json().at("guidance").is_number()) {
      INTAGLIO_ASSIGN(const double one, entry.number("guidance"));
      guidance = {static_cast<float>(one)};
    } else {
      INTAGLIO_ASSIGN(const std::string text, entry.string_or("guidance", ""));
      Expected<std::vector<float>> parsed = parse_guidance(entry.where() + "guidance", text);
      // A fault of the model's file, not of the user's arguments.
      if (!parsed) return tl::unexpected<Error>({ErrorCode::kBadFormat, parsed.error().message});
      guidance = std::move(*parsed);
    }
    Expected<std::vector<float>> each = guidance_schedule(guidance, preset.steps);
    if (!each)
      return make_error(ErrorCode::kBadFormat, "{}{}", entry.where(), each.error().message);
    preset.guidance = std::move(*each);
    if (preset.std <= 0.0)
      return make_error(ErrorCode::kBadFormat, "{}std: expected a positive number, found {}",
                        entry.where(), preset.std);
    presets.push_back(std::move(preset));
  }
  std::stable_sort(presets.begin(), presets.end(),
                   [](const Preset& a, const Preset& b) { return a.steps > b.steps; });
  return presets;
}

Expected<std::vector<float>> guidance_schedule(const std::vector<float>& values, int64_t steps) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      return make_error(ErrorCode::kInvalidArgument, "guidance value {} is not a finite number",
                        i + 1);
  }
  if (values.size() == 1) return std::vector<float>(static_cast<size_t>(steps), values.front());
  if (values.size() != static_cast<size_t>(steps)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "guidance has {} values for {} steps; expected one value, or one a step",
                      values.size(), steps);
  }
  return values;
}

std::string Schedule::describe() const {
  const std::string levels = mu && std ? fmt::format("mu {}, std {}, ", *mu, *std)
                             : shift   ? fmt::format("shift {}, ", *shift)
                                       : "";
  return fmt::format("{} step{}{}{}: {}guidance {}", steps, steps == 1 ? "" : "s",
                     preset.empty() ? "" : ", ", preset, levels, guidance_text(guidance));
}

Status check_guidance(const ModelInfo& model, std::span<const float> guidance) {
  if (model.unguided_reason.empty()) return {};
  const auto other = std::find_if(guidance.begin(), guidance.end(),
                                  [&](float g) { return g != model.no_guidance; });
  if (other == guidance.end()) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "guidance {}: {} {}, so only guidance {} can be drawn", *other, model.name,
                    model.unguided_reason, model.no_guidance);
}

Expected<Schedule> choose_schedule(const ModelInfo& model, const ScheduleRequest& r) {
  const Preset* base = preset_by_steps(model, r);
  if (r.preset) {
    INTAGLIO_ASSIGN(base, find_preset(model, *r.preset));
    if (r.steps && *r.steps != base->steps)
      return make_error(ErrorCode::kInvalidArgument, "steps: {}, but the preset {} has {}",
                        *r.steps, base->name, base->steps);
  }
  Schedule schedule;
  schedule.steps = base != nullptr ? base->steps : r.steps.value_or(model.default_steps);
  INTAGLIO_TRY(choose_levels(model, r, base, schedule));
  const std::vector<float> guidance = r.guidance ? *r.guidance
                                      : base != nullptr
                                          ? base->guidance
                                          : model.default_guidance.of_steps(schedule.steps);
  INTAGLIO_ASSIGN(schedule.guidance, guidance_schedule(guidance, schedule.steps));
  INTAGLIO_TRY(check_guidance(model, schedule.guidance));
  // The name of what runs, however it came about.
  for (const Preset& preset : model.presets) {
    const bool same_levels = model.schedule_is_normal
                                 ? preset.mu == schedule.mu && preset.std == schedule.std
                                 : preset.shift == schedule.shift;
    if (preset.steps == schedule.steps && same_levels && preset.guidance == schedule.guidance)
      schedule.preset = preset.name;
  }
  return schedule;
}

std::string describe_preset(const ModelInfo& model, const Preset& preset) {
  const Expected<Schedule> schedule = choose_schedule(model, {.preset = preset.name});
  return schedule ? schedule->describe() : schedule.error().message;
}

}  // namespace intaglio
