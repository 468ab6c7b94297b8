// What of adapters is of no module of a model.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "models/parts/adapters.h"

namespace intaglio {

// A warning for each file with tensors that are not in `matched`. kShapeMismatch for one of which
// none is. `model`: its name, for people.
Expected<std::vector<std::string>> unmatched_adapters(std::span<const AdapterUse> adapters,
                                                      const std::set<const TensorEntry*>& matched,
                                                      std::string_view model);

}  // namespace intaglio
