// From the structs of the C interface to what a pipeline takes.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "intaglio/intaglio.h"
#include "models/model.h"
#include "models/presets.h"
#include "pipeline/picture_text.h"
#include "pipeline/pipeline.h"

namespace intaglio::abi {

struct ModelChoice {
  std::shared_ptr<const Model> model;
  PipelineOptions options;
  bool automatic_precision = false;  // "auto": options say int8 until it is chosen
};
// Errors name the option, as "options.model".
Expected<ModelChoice> choose_model(const intaglio_model_options& options);

// `what`: "options.adapters", for messages. `files` and `strengths` as the interface has them.
Expected<std::vector<AdapterUse>> open_adapters(std::string_view what, const char* const* files,
                                                const float* strengths, uint64_t count);

struct PictureChoice {
  PictureRequest request;
  Schedule schedule;               // of the request
  std::optional<InitOrigin> init;  // of what it begins from; hashes of pixels
};
Expected<PictureChoice> choose_picture(const intaglio_picture_options& options,
                                       const ModelInfo& info);

}  // namespace intaglio::abi
