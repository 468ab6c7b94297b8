// --lora: adapters on the transformers.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "models/model.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

void add_lora_flag(CLI::App& command, std::vector<std::string>& loras);

// "FILE" or "FILE:STRENGTH". A file whose own name ends in ":0.7" is taken at 1. kInvalidArgument
// or the file's own error, with the flag in front.
Expected<AdapterUse> open_lora(const std::string& argument);

// The same for benchmarks of a model, and "random:RANK" or "random:RANK:STRENGTH": a low rank
// beside every linear that int8 is meant for (models/synthetic_adapter.h), in a temporary file that
// is removed once it is open.
Expected<AdapterUse> open_benchmark_lora(const std::string& argument, const Model& model);

}  // namespace intaglio::cli
