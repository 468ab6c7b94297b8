#include "inspect/inspect_settings.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "models/registry.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

std::string text_at(const JsonConfig& config, const char* key) {
  return config.contains(key) && config.json().at(key).is_string()
             ? config.json().at(key).get<std::string>()
             : std::string();
}

// The model of the index, if it is known; else all of them.
std::vector<const ModelKind*> kinds_of(const JsonConfig& index) {
  if (const auto kind = find_model_kind(index)) return {*kind};
  std::vector<const ModelKind*> all;
  for (const ModelKind& kind : model_kinds()) all.push_back(&kind);
  return all;
}

std::optional<ConfigKind> kind_of(const JsonConfig& config, const ModelKind& model) {
  const std::string name = text_at(config, "_class_name");
  if (name == model.class_name) return ConfigKind::kModelIndex;
  if (name == model.transformer_class) return ConfigKind::kTransformer;
  if (name == "FlowMatchEulerDiscreteScheduler") return ConfigKind::kScheduler;
  if (name.starts_with("AutoencoderKL")) return ConfigKind::kVae;
  if (text_at(config, "model_type").starts_with("qwen")) return ConfigKind::kTextEncoder;
  return std::nullopt;
}

}  // namespace

void add_settings_facts(const JsonConfig& config, const JsonConfig& index, ordered_json& facts) {
  std::optional<ordered_json> found;
  for (const ModelKind* const model : kinds_of(index)) {
    const std::optional<ConfigKind> kind = kind_of(config, *model);
    if (!kind) continue;
    const std::unique_ptr<DiffusersModel> reader = model->make();
    ordered_json of_model = ordered_json::object();
    if (const Status status = reader->check_known_keys(*kind, config); !status)
      of_model["not_supported"] = status.error().message;
    const UnknownKeys unknown = reader->unknown_keys(*kind, config);
    if (!unknown.all.empty()) of_model["unknown_settings"] = unknown.all;
    const bool takes_it = !of_model.contains("not_supported");
    if (!found || takes_it) found = std::move(of_model);
    if (takes_it) break;
  }
  if (found) facts.update(*found);
}

std::optional<PartReport> schedules_report(const ModelPaths& paths, const JsonConfig& index) {
  const auto kind = find_model_kind(index);
  if (!kind || !find_model_files(paths, index)) return std::nullopt;
  PartReport report{.name = "schedules", .kind = "presets"};
  const Expected<ModelInfo> info = (*kind)->make()->read_info(paths, index);
  if (!info) {
    report.facts["not_supported"] = info.error().message;
    return report;
  }
  report.detail = info->branches;
  if (const auto schedule = choose_schedule(*info, {}))
    report.facts["default"] = schedule->describe();
  ordered_json presets = ordered_json::object();
  for (const Preset& preset : info->presets) presets[preset.name] = describe_preset(*info, preset);
  report.facts["presets"] = std::move(presets);
  ordered_json masks = ordered_json::object();
  for (const StepMask& mask : info->masks)
    masks[fmt::format("{} ({} steps)", mask.name, mask.steps())] =
        fmt::format("latents' error {:.4f}", mask.error);
  if (!masks.empty()) report.facts["step_masks"] = std::move(masks);
  return report;
}

std::optional<std::set<std::string>> used_tensors(std::string_view part, const JsonConfig& config,
                                                  const JsonConfig& index) {
  const bool by_class = part == "transformer" || part == "unconditional_transformer";
  for (const ModelKind* const model : kinds_of(index)) {
    if (by_class && text_at(config, "_class_name") != model->transformer_class) continue;
    if (auto names = model->make()->needed_tensors(part, config, index)) return names;
  }
  return std::nullopt;
}

}  // namespace intaglio::cli
