// A model by the name that people give it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/status.h"
#include "models/model.h"

namespace intaglio {

// "synthetic:NAME" (registry.h: synthetic_model), else what find_model_folder finds. Messages begin
// with `what`; `advice` as there.
Expected<std::shared_ptr<const Model>> open_named_model(std::string_view what,
                                                        const std::string& argument,
                                                        std::string_view advice = "");

}  // namespace intaglio
