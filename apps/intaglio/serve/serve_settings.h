// Settings of a command from a file and from the environment, behind those of the command line.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

// For each option of `command` that the command line did not give: the environment's PREFIX_NAME
// ("--max-queue": PREFIX_MAX_QUEUE), else `file`'s. The file has lines such as `max-queue = 100`, `model =
// ["mini", "other"]`, and # for comments; empty: there is none. kInvalidArgument names the file or
// the variable: an unknown name, a value that the option does not take.
Status apply_settings(CLI::App& command, std::string_view prefix,
                      const std::filesystem::path& file);

// $XDG_CONFIG_HOME/intaglio/`name`, else ~/.config/intaglio/`name`, if it is there; else empty.
std::filesystem::path default_settings_file(std::string_view name);

// $XDG_DATA_HOME/intaglio/`name`, else ~/.local/share/intaglio/`name`; not made. kNotFound if
// neither variable names an absolute folder.
Expected<std::filesystem::path> data_folder(std::string_view name);

}  // namespace intaglio::cli
