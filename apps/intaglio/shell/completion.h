// Scripts that let shells complete what the command line understands.
#pragma once

#include <string>

#include "shell/command_words.h"

namespace intaglio::cli {

std::string bash_completion(const CommandWords& program);
std::string zsh_completion(const CommandWords& program);
std::string fish_completion(const CommandWords& program);

}  // namespace intaglio::cli
