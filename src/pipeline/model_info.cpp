#include "pipeline/model_info.h"

#include <cmath>

#include "models/ideogram4/config_keys.h"

namespace intaglio {
namespace {

// Distilled checkpoints are published for 8 steps and for 20; the more the better.
constexpr int64_t kDistilledSteps = 20;

// What the makers of a model say of it in model_index.json, under "intaglio".
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
    info.default_guidance = {static_cast<float>(guidance)};
    if (!std::isfinite(info.default_guidance.front()))
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
  return {};
}

}  // namespace

Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index,
                                    const std::filesystem::path& scheduler,
                                    bool has_unconditional) {
  INTAGLIO_TRY(ideogram4::check_known_keys(ideogram4::ConfigKind::kModelIndex, index));
  ModelInfo info;
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(folder, error);
  if (error)
    return make_error(ErrorCode::kIo, "{}: cannot be found: {}", folder.string(), error.message());
  info.name = canonical.filename().empty() ? folder.string() : canonical.filename().string();
  info.folder = folder;
  info.has_unconditional = has_unconditional;
  if (!has_unconditional) info.default_steps = kDistilledSteps;
  if (index.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, index.object("intaglio"));
    INTAGLIO_TRY(read_defaults(own, info));
    // A model with a schedule of its own is not the published one, whatever the number of steps.
    info.presets_by_steps = !own.contains("default_steps") && !own.contains("default_guidance");
  }
  if (!has_unconditional && !info.default_guidance.empty() && info.default_guidance.front() != 1.0f)
    info.default_guidance = {1.0f};
  if (index.contains("presets")) {
    INTAGLIO_ASSIGN(const JsonConfig table, index.object("presets"));
    INTAGLIO_ASSIGN(info.presets, read_presets(table));
    info.presets_by_steps = true;
  } else {
    INTAGLIO_ASSIGN(info.presets, published_presets());
  }
  INTAGLIO_ASSIGN(const JsonConfig scheduler_config, JsonConfig::open(scheduler));
  INTAGLIO_TRY(ideogram4::check_known_keys(ideogram4::ConfigKind::kScheduler, scheduler_config));
  INTAGLIO_ASSIGN(info.shift, scheduler_config.number_or("shift", 1.0));
  if (!(info.shift > 0.0))
    return make_error(ErrorCode::kBadFormat, "{}shift is {}; expected a positive number",
                      scheduler_config.where(), info.shift);
  return info;
}

}  // namespace intaglio
