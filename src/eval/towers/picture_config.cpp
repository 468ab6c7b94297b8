#include "eval/towers/picture_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/towers/tower_weights.h"

namespace intaglio::towers {
namespace {

constexpr int64_t kBicubic = 3;  // Pillow's number of the filter

// A side: a number, or an object that has it under `key`.
Expected<int64_t> side_of(const JsonConfig& config, std::string_view name, std::string_view key,
                          int64_t fallback) {
  if (!config.contains(name)) return fallback;
  if (!config.json().at(std::string(name)).is_object()) return size_of(config, name, fallback);
  INTAGLIO_ASSIGN(const JsonConfig object, config.object(name));
  return size_of(object, key, 0);
}

Status read_triple(const JsonConfig& config, std::string_view name, std::array<double, 3>& target) {
  if (!config.contains(name)) return {};
  const nlohmann::json& list = config.json().at(std::string(name));
  if (!list.is_array() || list.size() != target.size())
    return make_error(ErrorCode::kBadFormat, "{}: {}, expected {} numbers", config.where(), name,
                      target.size());
  for (size_t i = 0; i < target.size(); ++i) {
    if (!list[i].is_number() || !std::isfinite(list[i].get<double>()))
      return make_error(ErrorCode::kBadFormat, "{}: {}, expected {} numbers", config.where(), name,
                        target.size());
    target[i] = list[i].get<double>();
  }
  return {};
}

}  // namespace

Status read_picture_rule(const std::filesystem::path& file, PictureRule& rule) {
  if (!std::filesystem::exists(file)) return {};
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(file));
  for (const char* const step : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"}) {
    INTAGLIO_ASSIGN(const bool done, config.boolean_or(step, true));
    if (!done)
      return make_error(ErrorCode::kUnsupported, "{}: {} is false, expected true", config.where(),
                        step);
  }
  INTAGLIO_ASSIGN(const int64_t filter, config.integer_or("resample", kBicubic, 0, 100));
  if (filter != kBicubic)
    return make_error(ErrorCode::kUnsupported, "{}: resample {}, expected {} (bicubic)",
                      config.where(), filter, kBicubic);
  INTAGLIO_ASSIGN(rule.shortest, side_of(config, "size", "shortest_edge", rule.shortest));
  for (const char* const side : {"height", "width"}) {
    INTAGLIO_ASSIGN(const int64_t crop, side_of(config, "crop_size", side, rule.crop));
    if (crop != rule.crop || rule.shortest < crop)
      return make_error(ErrorCode::kUnsupported,
                        "{}: pictures of {} pixels cut to {}, expected the {} of config.json",
                        config.where(), rule.shortest, crop, rule.crop);
  }
  INTAGLIO_TRY(read_triple(config, "image_mean", rule.mean));
  INTAGLIO_TRY(read_triple(config, "image_std", rule.deviation));
  for (const double deviation : rule.deviation)
    if (deviation <= 0)
      return make_error(ErrorCode::kBadFormat, "{}: image_std {}, expected numbers above 0",
                        config.where(), deviation);
  return {};
}

}  // namespace intaglio::towers
