// What the PNG of a picture says of how it was made.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/png.h"
#include "models/model.h"
#include "models/presets.h"

namespace intaglio {

// Of the files that a picture began from.
struct InitOrigin {
  std::string image_hash, mask_hash;  // of their bytes; the latter empty: no mask
  double strength = 0.0;
};

struct PictureOrigin {
  std::string model, model_hash;
  std::string_view precision;
  std::string_view version;                // of this engine
  std::vector<std::string> adapters = {};  // "NAME:STRENGTH"
  std::string mask = {};                   // name of the step mask; empty: none
  int64_t half_steps = 0;                  // Sampling::half_steps
  std::string attention = {};              // products that were asked for; empty: the model's own
  std::optional<InitOrigin> init = {};
};

// For people and pictures: "NAME:STRENGTH" each, the file's name without its folder and extension.
std::vector<std::string> adapter_names(std::span<const AdapterUse> uses);

// Single keywords, and "parameters" in the form that picture tools read. The prompt is the
// "Description": other tools parse a chunk named "prompt" as a graph of theirs. `request`: that of
// the picture's plan.
PngText picture_text(const PictureRequest& request, const Schedule& schedule,
                     const PictureOrigin& origin);

}  // namespace intaglio
