#include "models/model_info.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/printable.h"

namespace intaglio {
namespace {

Status read_defaults(const JsonConfig& own, ModelInfo& info) {
  INTAGLIO_ASSIGN(info.default_steps,
                  own.integer_or("default_steps", info.default_steps, 1, kMaxSteps));
  INTAGLIO_ASSIGN(info.default_mu, own.number_or("default_mu", info.default_mu));
  INTAGLIO_ASSIGN(info.default_std, own.number_or("default_std", info.default_std));
  if (!(info.default_std > 0.0))
    return make_error(ErrorCode::kBadFormat, "{}default_std: expected a positive number, found {}",
                      own.where(), info.default_std);
  if (own.contains("default_guidance")) {
    INTAGLIO_ASSIGN(const double guidance, own.number("default_guidance"));
    info.default_guidance = {.scale = static_cast<float>(guidance)};
    if (!std::isfinite(info.default_guidance.scale))
      return make_error(ErrorCode::kBadFormat, "{}default_guidance: {} is too large", own.where(),
                        guidance);
  }
  if (own.contains("default_size")) {
    INTAGLIO_ASSIGN(const std::vector<int64_t> size, own.integers("default_size", 1, kMaxSide, 2));
    if (size.size() != 2)
      return make_error(ErrorCode::kBadFormat,
                        "{}default_size has {} values; expected [width, height]", own.where(),
                        size.size());
    info.default_width = size[0];
    info.default_height = size[1];
  }
  INTAGLIO_ASSIGN(info.only_default_size, own.boolean_or("only_default_size", false));
  return {};
}

// That an object of schedules says nothing that the model lacks; `prefix` of its names.
Status check_levels(const JsonConfig& schedule, std::string_view prefix, const ModelInfo& info) {
  for (const std::string_view name : {"mu", "std", "shift"}) {
    const bool is_shift = name == "shift";
    if (is_shift != info.schedule_is_normal) continue;
    const std::string key = fmt::format("{}{}", prefix, name);
    if (!schedule.contains(key)) continue;
    return make_error(
        ErrorCode::kBadFormat, "{}{}: {} has none; {}", schedule.where(), key, info.name,
        is_shift ? "mu and std say where noise levels lie" : "shift says where noise levels lie");
  }
  return {};
}

}  // namespace

std::vector<float> DefaultGuidance::of_steps(int64_t steps) const {
  std::vector<float> values(static_cast<size_t>(steps), scale);
  std::fill(values.end() - std::min(steps, last_steps), values.end(), last_scale);
  return values;
}

Status read_own_defaults(const JsonConfig& index, ModelInfo& info) {
  if (index.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, index.object("intaglio"));
    INTAGLIO_TRY(check_levels(own, "default_", info));
    INTAGLIO_TRY(read_defaults(own, info));
    // A model with a schedule of its own is not the published one, whatever the number of steps.
    if (own.contains("default_steps") || own.contains("default_guidance"))
      info.presets_by_steps = false;
  }
  if (!info.unguided_reason.empty()) info.default_guidance = {.scale = info.no_guidance};
  if (!index.contains("presets")) return {};
  INTAGLIO_ASSIGN(const JsonConfig table, index.object("presets"));
  for (const auto& [name, value] : table.json().items()) {
    INTAGLIO_ASSIGN(const JsonConfig preset, table.object(name));
    INTAGLIO_TRY(check_levels(preset, "", info));
  }
  INTAGLIO_ASSIGN(info.presets, read_presets(table));
  info.presets_by_steps = true;
  return {};
}

std::string size_warning(const ModelInfo& info, std::string_view model, int64_t width,
                         int64_t height, int64_t half_steps) {
  if (!info.only_default_size) return {};
  const bool other = width != info.default_width || height != info.default_height;
  if (!other && half_steps == 0) return {};
  return fmt::format("{} was trained at {}x{} alone; {}", printable(model), info.default_width,
                     info.default_height,
                     other ? fmt::format("expect no good picture of {}x{}", width, height)
                           : "first steps at half of that (--progressive) spoil its pictures");
}

Expected<std::string> model_name(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(folder, error);
  if (error)
    return make_error(ErrorCode::kIo, "{}: cannot be found: {}", folder.string(), error.message());
  return canonical.filename().empty() ? folder.string() : canonical.filename().string();
}

}  // namespace intaglio
