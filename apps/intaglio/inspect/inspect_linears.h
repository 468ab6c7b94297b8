// What `intaglio inspect` says of the linears of quantized weights: how each is stored, and what
// its scales are like.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "inspect/inspect_report.h"
#include "io/formats/stored_weights.h"

namespace intaglio::cli {

// Of weights that are quantized: facts "format", "quantized_by" if the file says it and "linears",
// how many are stored in which way, and `report.linears`. Of a checkpoint that no reader takes, why
// not, as "weights_not_supported".
void add_linear_facts(const Expected<std::shared_ptr<const StoredWeights>>& weights,
                      PartReport& report);

nlohmann::ordered_json linears_json(const std::vector<LinearReport>& linears);

}  // namespace intaglio::cli
