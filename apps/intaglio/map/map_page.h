// docs/deployment-map.md and its charts, from results under bench/results and the cost model.
#pragma once

#include <filesystem>

#include "core/status.h"

namespace intaglio::cli {

// Reads `results`/map_*.json and `results`/h100_image.json; writes deployment-map.md,
// deployment-map.svg, cost-tokens.svg and cost-steps.svg into `docs`. kNotFound if there is no map.
Status write_map_docs(const std::filesystem::path& results, const std::filesystem::path& docs);

}  // namespace intaglio::cli
