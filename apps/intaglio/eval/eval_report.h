// What an evaluation's records say: one JSON result, and a page that needs nothing else.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/status.h"
#include "eval/eval_folder.h"

namespace intaglio::cli {

// Of the pictures that all shards have drawn until now: for each candidate its means with
// intervals (eval/bootstrap.h), differences to the source paired by picture; errors by step and by
// linear; what judges found and networks scored. kNotFound where no candidate has a picture.
Expected<nlohmann::ordered_json> eval_result(const EvalFolder& folder);

// The page of a result, with the `worst` pictures of each candidate that differ most from the
// source's.
Expected<std::string> eval_page(const EvalFolder& folder, const nlohmann::ordered_json& result,
                                int64_t worst);

}  // namespace intaglio::cli
