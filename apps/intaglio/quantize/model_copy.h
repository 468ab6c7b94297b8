// What of a model's folder is not quantized, copied beside what is.
#pragma once

#include <atomic>
#include <filesystem>
#include <set>
#include <string>

#include "core/status.h"

namespace intaglio::cli {

// Copies all files under `source` but hidden ones to the same places under `target`. Of the folders
// `quantized` ("transformer"; "." is `source` itself) weights stay behind, and in config.json what
// it said of their format. A file of the same size that is there already stays. kCancelled soon
// after `cancel` is set.
Status copy_around_weights(const std::filesystem::path& source, const std::filesystem::path& target,
                           const std::set<std::string>& quantized, const std::atomic<bool>& cancel);

}  // namespace intaglio::cli
