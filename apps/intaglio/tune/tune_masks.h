// `intaglio tune --steps-budget`: which passes of a model's steps a picture needs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/status.h"
#include "prompts.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

struct MaskFlags {
  std::optional<std::string> budgets;  // "0.5" or "0.5,0.33"
  PictureSettings settings;            // the schedule
  std::optional<std::string> prompts, out;
  std::string precision = "int8";
  int64_t evaluations = 300, first_blocks = 1, pictures = 8;
  int threads = 0;
};

// --steps-budget and what goes with it.
void add_mask_flags(CLI::App& command, MaskFlags& flags);

// What --steps-budget asks for of `model`, on `device` ("auto" without one). The masks join those
// of --out, else of kStepMaskFile in the model's folder, in the place of those of the same name and
// steps. `out` gets "masks" and "masks_file".
Status tune_masks(const MaskFlags& flags, const std::string& model,
                  const std::optional<std::string>& size, const std::optional<std::string>& device,
                  bool json, nlohmann::ordered_json& out);

}  // namespace intaglio::cli
