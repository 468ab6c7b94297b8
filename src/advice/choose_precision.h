// `--precision auto`: the fastest precision whose picture fits.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "pipeline/pipeline.h"

namespace intaglio {

struct ChosenPrecision {
  std::unique_ptr<Pipeline> pipeline;
  Precision precision = Precision::kInt8;
  std::string reason;  // for people
};

// Opens `model` at each precision, the fastest first (advice/deployment_map.h), and takes the one
// whose step is the shortest among those that fit. With `options.vram_budget`, or where nothing
// fits without one, layers may stream: a step then takes as long as its copies at least.
// kOutOfMemory of the fastest if none fits.
Expected<ChosenPrecision> choose_precision(const std::shared_ptr<const Model>& model,
                                           const PipelineOptions& options,
                                           const PictureRequest& request);

}  // namespace intaglio
