#include "pipeline/model_info.h"

namespace intaglio {

Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index) {
  ModelInfo info;
  std::error_code ignored;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(folder, ignored);
  info.name = canonical.filename().empty() ? folder.string() : canonical.filename().string();
  info.folder = folder;
  if (index.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, index.object("intaglio"));
    INTAGLIO_ASSIGN(info.default_steps,
                    own.integer_or("default_steps", info.default_steps, 1, kMaxSteps));
    if (own.contains("default_guidance")) {
      INTAGLIO_ASSIGN(const double guidance, own.number("default_guidance"));
      info.default_guidance = {static_cast<float>(guidance)};
    }
    if (own.contains("default_size")) {
      INTAGLIO_ASSIGN(const std::vector<int64_t> size,
                      own.integers("default_size", 1, kMaxSide, 2));
      if (size.size() != 2)
        return make_error(ErrorCode::kBadFormat,
                          "default_size has {} values; expected [width, height]", size.size());
      info.default_width = size[0];
      info.default_height = size[1];
    }
  }
  const std::filesystem::path scheduler = folder / "scheduler" / "scheduler_config.json";
  INTAGLIO_ASSIGN(const JsonConfig scheduler_config, JsonConfig::open(scheduler));
  INTAGLIO_ASSIGN(info.shift, scheduler_config.number_or("shift", 1.0));
  if (!(info.shift > 0.0))
    return make_error(ErrorCode::kBadFormat, "{}: shift is {}; expected a positive number",
                      scheduler.string(), info.shift);
  return info;
}

}  // namespace intaglio
