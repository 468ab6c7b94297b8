// Man pages of the program and its commands, of what --help says.
#pragma once

#include <string>

#include "shell/command_words.h"

namespace intaglio::cli {

// The page of a command, in man's macros; "intaglio-bench-linear.1" is its file.
std::string man_page(const CommandWords& command, const std::string& version);
std::string man_page_file(const CommandWords& command);

}  // namespace intaglio::cli
