// What `intaglio map` measured on a card: passes of a model's transformers at every precision and
// several sizes. One JSON file a card.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "advice/step_shape.h"
#include "core/context.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

struct MapEntry {
  Precision precision = Precision::kInt8;
  int64_t width = 0, height = 0;  // pixels
  int64_t text_tokens = 0, image_tokens = 0;
  double conditional_ms = 0.0, unconditional_ms = 0.0;
  uint64_t resident_bytes = 0;  // the least that a picture takes if no layer streams

  double step_ms() const { return conditional_ms + unconditional_ms; }  // guided, all computed
};

struct DeploymentMap {
  std::string device;   // the driver's name of the card
  std::string kernels;  // "wgmma" or "mma.sync"
  std::string model;    // whose passes these are ("synthetic:NAME"); empty: not said
  std::vector<MapEntry> entries;
};

// `where` names the text in errors: kBadFormat.
Expected<DeploymentMap> parse_deployment_map(std::string_view text, const std::string& where);

// Where a card's map is kept: $XDG_CACHE_HOME/intaglio/map/<device>.json, else
// ~/.cache/intaglio/map. kNotFound if neither names an absolute folder.
Expected<std::filesystem::path> deployment_map_file(std::string_view device);
// The kept map; nullopt if there is none. A broken one is an error.
Expected<std::optional<DeploymentMap>> kept_deployment_map(std::string_view device);

struct RankedPrecision {
  Precision precision = Precision::kInt8;
  double step_ms = 0.0;   // of a step at about this size, in the mean; 0 on a CPU
  bool measured = false;  // else by advice/cost_model.h
};
// The precisions that the context's device has, the fastest first, for such steps of `model`; what
// was measured of another model ranks alike. fp32, the oracle, comes last. On a CPU int8 is first,
// as measured on every instruction set (bench/results/cpu_*.json).
std::vector<RankedPrecision> rank_precisions(const Context& context, const Model& model,
                                             const StepShape& step,
                                             const std::optional<DeploymentMap>& map);

}  // namespace intaglio
