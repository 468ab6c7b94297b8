// Where a model lies that is named as people name it: a folder, a repository of the Hugging Face
// cache, the bundled one.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio {

// Before the name of a model with random weights (models/registry.h: synthetic_model).
inline constexpr std::string_view kSyntheticPrefix = "synthetic:";

// The folder with model_index.json: `argument` itself, a repository "owner/name" in the Hugging
// Face cache, or for "mini" the bundled one ($INTAGLIO_MODELS/mini, the installation's
// share/intaglio/models/mini, models/mini in the source tree). kNotFound lists the places tried;
// messages begin with `what` and the name. `advice` follows "no such folder".
Expected<std::filesystem::path> find_model_folder(std::string_view what,
                                                  const std::string& argument,
                                                  std::string_view advice = "");

// A file or folder of this name, else a repository in the cache: a part of a model from elsewhere.
Expected<std::filesystem::path> find_model_part(std::string_view what, const std::string& argument);

}  // namespace intaglio
