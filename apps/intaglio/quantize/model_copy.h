// What of a model's folder is not quantized, copied beside what is.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <string>

#include "core/status.h"

namespace intaglio::cli {

// Copies all files under `source` but hidden ones to the same places under `target`. Of the folders
// in `quantized` ("transformer"; "." is `source` itself) weights stay behind, and in config.json
// what it said of their format; it says the JSON that `quantized` has for the folder instead, if
// any. A file of the same size that is there already stays. kCancelled soon after `cancel` is set.
Status copy_around_weights(const std::filesystem::path& source, const std::filesystem::path& target,
                           const std::map<std::string, std::string>& quantized,
                           const std::atomic<bool>& cancel);

}  // namespace intaglio::cli
