#include "advice/deployment_map.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "io/json_config.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxMapBytes = size_t{4} << 20;

// The entries of the size nearest to so many tokens.
std::vector<MapEntry> nearest(const DeploymentMap& map, int64_t tokens) {
  const auto distance = [&](const MapEntry& e) {
    return std::abs(std::log(static_cast<double>(e.text_tokens + e.image_tokens) /
                             static_cast<double>(std::max<int64_t>(tokens, 1))));
  };
  std::vector<MapEntry> found;
  for (const MapEntry& entry : map.entries) {
    if (!found.empty() && distance(entry) > distance(found.front()) + 1e-9) continue;
    if (!found.empty() && distance(entry) < distance(found.front()) - 1e-9) found.clear();
    found.push_back(entry);
  }
  return found;
}

double modelled_step_ms(const CudaDevice& gpu, const Model& model, Precision precision,
                        const StepShape& step) {
  double sum = 0.0;
  for (const bool first : {true, false}) {
    const auto pass = modelled_pass(card_rates(gpu), pass_shape(model, step, first), precision);
    if (!pass) return 0.0;
    sum += (first ? step.first : step.other) * pass->total_ms();
  }
  return sum;
}

}  // namespace

Expected<DeploymentMap> parse_deployment_map(std::string_view text, const std::string& where) {
  INTAGLIO_ASSIGN(const nlohmann::json json, parse_json(std::string(text), where));
  DeploymentMap map;
  try {
    map.device = json.at("card").get<std::string>();
    map.kernels = json.at("kernels").get<std::string>();
    map.model = json.value("model", "");
    for (const nlohmann::json& item : json.at("results")) {
      const auto name = item.at("precision").get<std::string>();
      const std::optional<Precision> precision = precision_from_name(name);
      if (!precision)
        return make_error(ErrorCode::kBadFormat, "{}: precision \"{}\" is unknown", where, name);
      MapEntry e{.precision = *precision,
                 .width = item.at("width").get<int64_t>(),
                 .height = item.at("height").get<int64_t>(),
                 .text_tokens = item.at("text_tokens").get<int64_t>(),
                 .image_tokens = item.at("image_tokens").get<int64_t>(),
                 .conditional_ms = item.at("conditional").at("median_ms").get<double>(),
                 .unconditional_ms = item.at("unconditional").at("median_ms").get<double>(),
                 .resident_bytes = item.at("resident_bytes").get<uint64_t>()};
      if (e.text_tokens < 0 || e.image_tokens < 1 || !(e.step_ms() > 0.0))
        return make_error(ErrorCode::kBadFormat, "{}: {}: expected positive sizes and times", where,
                          name);
      map.entries.push_back(e);
    }
  } catch (const nlohmann::json::exception&) {
    return make_error(
        ErrorCode::kBadFormat,
        "{}: not a map of `intaglio map`: a value is missing or of another type than expected",
        where);
  }
  return map;
}

Expected<fs::path> deployment_map_file(std::string_view device) {
  std::string name;
  for (const char c : device) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (c >= 'A' && c <= 'Z') {
      name += static_cast<char>(c - 'A' + 'a');
    } else {
      name += plain ? c : '_';
    }
  }
  name += ".json";
  INTAGLIO_ASSIGN(const fs::path folder, cache_folder("map", "the map"));
  return folder / name;
}

Expected<std::optional<DeploymentMap>> kept_deployment_map(std::string_view device) {
  const Expected<fs::path> file = deployment_map_file(device);
  std::error_code ignored;
  if (!file || !fs::exists(*file, ignored)) return std::optional<DeploymentMap>();
  INTAGLIO_ASSIGN(const std::string text, read_file(*file, kMaxMapBytes));
  INTAGLIO_ASSIGN(DeploymentMap map, parse_deployment_map(text, file->string()));
  return std::optional(std::move(map));
}

std::vector<RankedPrecision> rank_precisions(const Context& context, const Model& model,
                                             const StepShape& step,
                                             const std::optional<DeploymentMap>& map) {
  std::vector<RankedPrecision> ranked;
  if (context.gpu == nullptr) {
    for (const Precision p : {Precision::kInt8, Precision::kBf16, Precision::kInt8Dequant})
      ranked.push_back({p, 0.0, false});
  } else {
    for (const Precision p : {Precision::kInt8, Precision::kFp8, Precision::kBf16,
                              Precision::kInt8Dequant, Precision::kNf4}) {
      LayerSelection selection;
      selection.precision = p;
      if (!selection.check_device(context)) continue;
      const double ms = modelled_step_ms(*context.gpu, model, p, step);
      if (ms > 0.0) ranked.push_back({p, ms, false});
    }
    if (map) {
      for (const MapEntry& entry : nearest(*map, step.text_tokens + step.image_tokens)) {
        const double ms = step.first * entry.conditional_ms + step.other * entry.unconditional_ms;
        for (RankedPrecision& r : ranked)
          if (r.precision == entry.precision) r = {entry.precision, ms, true};
      }
    }
    // Measured and modelled times are not compared: what was not measured comes after.
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const RankedPrecision& a, const RankedPrecision& b) {
                       return a.measured != b.measured ? a.measured : a.step_ms < b.step_ms;
                     });
  }
  ranked.push_back({Precision::kFp32, 0.0, false});
  return ranked;
}

}  // namespace intaglio
