// Whole files, and where this program keeps its own.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio {

// Whole file as bytes; kIo with the system's reason. Files above `max_bytes` are refused.
Expected<std::string> read_file(const std::filesystem::path& path,
                                size_t max_bytes = size_t{1} << 30);

// Writes atomically: temporary file beside the target, fsync, rename.
Status write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

// $XDG_CACHE_HOME/intaglio/`name`, else ~/.cache/intaglio/`name`; not made. kNotFound, naming
// `what` is kept there, if neither variable names an absolute folder.
Expected<std::filesystem::path> cache_folder(std::string_view name, std::string_view what);

}  // namespace intaglio
