#include "inspect/inspect_settings.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "models/ideogram4/config_keys.h"
#include "pipeline/model_info.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

std::optional<ideogram4::ConfigKind> kind_of(const nlohmann::json& config) {
  const auto text_at = [&](const char* key) {
    return config.contains(key) && config.at(key).is_string() ? config.at(key).get<std::string>()
                                                              : std::string();
  };
  const std::string name = text_at("_class_name");
  if (name == "Ideogram4Pipeline") return ideogram4::ConfigKind::kModelIndex;
  if (name == "FlowMatchEulerDiscreteScheduler") return ideogram4::ConfigKind::kScheduler;
  if (name == "Ideogram4Transformer2DModel") return ideogram4::ConfigKind::kTransformer;
  if (name == "AutoencoderKLFlux2") return ideogram4::ConfigKind::kVae;
  if (text_at("model_type").starts_with("qwen3")) return ideogram4::ConfigKind::kTextEncoder;
  return std::nullopt;
}

}  // namespace

void add_settings_facts(const JsonConfig& config, ordered_json& facts) {
  const std::optional<ideogram4::ConfigKind> kind = kind_of(config.json());
  if (!kind) return;
  if (const Status status = ideogram4::check_known_keys(*kind, config); !status)
    facts["not_supported"] = status.error().message;
  const UnknownKeys unknown = ideogram4::unknown_keys(*kind, config);
  if (!unknown.all.empty()) facts["unknown_settings"] = unknown.all;
}

PartReport schedules_report(const std::filesystem::path& folder, const JsonConfig& index,
                            const ModelParts& parts) {
  PartReport report{.name = "schedules", .kind = "presets"};
  const Expected<ModelInfo> info =
      read_model_info(folder, index, parts.scheduler, parts.unconditional.has_value());
  if (!info) {
    report.facts["not_supported"] = info.error().message;
    return report;
  }
  report.detail = info->has_unconditional
                      ? "conditional and unconditional transformer"
                      : "one branch: no unconditional transformer, guidance is 1";
  if (const auto schedule = choose_schedule(*info, {}))
    report.facts["default"] = schedule->describe();
  ordered_json presets = ordered_json::object();
  for (const Preset& preset : info->presets) {
    const Schedule schedule{
        .steps = preset.steps, .mu = preset.mu, .std = preset.std, .guidance = preset.guidance};
    presets[preset.name] = schedule.describe();
  }
  report.facts["presets"] = std::move(presets);
  return report;
}

}  // namespace intaglio::cli
