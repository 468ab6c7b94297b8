// --lora: adapters on the transformers.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "models/parts/adapters.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

void add_lora_flag(CLI::App& command, std::vector<std::string>& loras);

// "FILE" or "FILE:STRENGTH". A file whose own name ends in ":0.7" is taken at 1. kInvalidArgument
// or the file's own error, with the flag in front.
Expected<AdapterUse> open_lora(const std::string& argument);

// For people and pictures: "NAME:STRENGTH" each, the file's name without its folder and extension.
std::vector<std::string> lora_names(const std::vector<AdapterUse>& uses);

}  // namespace intaglio::cli
