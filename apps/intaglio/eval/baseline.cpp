#include "eval/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "eval/eval_picture.h"

namespace intaglio::cli {
namespace {

constexpr std::array<std::string_view, 1> kName{"name"};
constexpr std::array<std::string_view, 6> kSchedule{"preset", "steps", "mu",
                                                    "std",    "shift", "guidance"};
constexpr std::array<std::string_view, 9> kOwn{"name", "cache", "progressive", "preset",  "steps",
                                               "mu",   "std",   "shift",       "guidance"};

// A variant's text without the items of these keys.
std::string without(std::string_view text, std::span<const std::string_view> keys) {
  std::string kept;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const bool has_key = item.find('=') != std::string_view::npos;
    if (has_key && std::ranges::find(keys, item.substr(0, item.find('='))) != keys.end()) continue;
    if (!kept.empty()) kept += ',';
    kept += item;
  }
  return kept;
}

bool asks_for_passes(const Variant& variant) {
  return without(variant.text, kSchedule) != variant.text || variant.cache.has_value() ||
         variant.progressive.has_value();
}

bool same_steps(const ChosenPicture& a, const ChosenPicture& b) {
  return a.request.steps == b.request.steps && a.request.guidance == b.request.guidance &&
         a.request.mu == b.request.mu && a.request.std == b.request.std &&
         a.request.shift == b.request.shift;
}

// The guidance of so many steps, each that of the step at the same place of `whole`.
std::vector<float> guidance_of(const std::vector<float>& whole, int64_t steps) {
  std::vector<float> guidance;
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t at = (2 * i + 1) * static_cast<int64_t>(whole.size()) / (2 * steps);
    guidance.push_back(whole[static_cast<size_t>(at)]);
  }
  return guidance;
}

// ",KEY=VALUE" of all that the source's schedule is made of: presets are of one number of steps.
std::string schedule_items(const Variant& source, const Schedule& schedule, int64_t steps) {
  const ScheduleFlags& flags = source.schedule;
  std::string items;
  if (!schedule.preset.empty() || flags.mu || flags.std || flags.shift || flags.guidance) {
    if (schedule.mu) items += fmt::format(",mu={}", *schedule.mu);
    if (schedule.std) items += fmt::format(",std={}", *schedule.std);
    if (schedule.shift) items += fmt::format(",shift={}", *schedule.shift);
    std::string guidance = guidance_text(guidance_of(schedule.guidance, steps));
    std::replace(guidance.begin(), guidance.end(), ',', ';');
    items += ",guidance=" + guidance;
  }
  return items + fmt::format(",steps={}", steps);
}

}  // namespace

Expected<std::optional<Variant>> steps_baseline(const EvalPlan& plan, const Variant& source,
                                                const Variant& candidate,
                                                const std::string& model) {
  if (!asks_for_passes(candidate)) return std::nullopt;
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> whole_model, open_model(source.model));
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> own_model, open_model(candidate.model));
  INTAGLIO_ASSIGN(const ChosenPicture whole, eval_picture(plan, source, *whole_model, 0));
  INTAGLIO_ASSIGN(const ChosenPicture own, eval_picture(plan, candidate, *own_model, 0));
  INTAGLIO_ASSIGN(const double all, picture_passes(*whole_model, whole.request));
  INTAGLIO_ASSIGN(const double computed, picture_passes(*own_model, own.request));
  const auto steps =
      std::max<int64_t>(1, std::llround(computed * static_cast<double>(whole.request.steps) / all));
  if (steps >= whole.request.steps) return std::nullopt;
  const std::string kept = without(candidate.text, kOwn);
  std::string text = kept + schedule_items(source, whole.schedule, steps);
  if (kept.empty()) text.erase(0, 1);
  INTAGLIO_ASSIGN(Variant baseline, parse_variant("--baseline", text, model));
  const Expected<ChosenPicture> chosen = eval_picture(plan, baseline, *own_model, 0);
  if (!chosen)
    return make_error(chosen.error().code, "--baseline: of {}: {}; expected --baseline off",
                      candidate.name, chosen.error().message);
  const bool has_steps_alone = !candidate.cache && !candidate.progressive;
  if (has_steps_alone && same_steps(*chosen, own)) return std::nullopt;
  return baseline;
}

Status add_baselines(const std::string& model, EvalPlan& plan, std::vector<Variant>& variants) {
  const size_t asked = variants.size();
  for (size_t i = 1; i < asked; ++i) {
    INTAGLIO_ASSIGN(std::optional<Variant> baseline,
                    steps_baseline(plan, variants.front(), variants[i], model));
    if (!baseline) continue;
    const auto same = std::ranges::find_if(variants, [&](const Variant& other) {
      return without(other.text, kName) == baseline->text;
    });
    plan.baselines[variants[i].name] = same != variants.end() ? same->name : baseline->name;
    if (same != variants.end()) continue;
    for (const Variant& other : variants)
      if (other.name == baseline->name)
        return make_error(ErrorCode::kInvalidArgument,
                          "--candidate: the name {} is that of the baseline of {}, expected "
                          "name=ANOTHER",
                          other.name, variants[i].name);
    baseline->is_baseline = true;
    variants.push_back(std::move(*baseline));
  }
  return {};
}

}  // namespace intaglio::cli
