// The words of a command line against the options there are.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/status.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace intaglio::cli {

struct ArgumentCheck {
  const CLI::App* command = nullptr;  // that the words name
  std::vector<Error> errors = {};
};

// Everything wrong with `words` (without the program's name) but the values themselves: unknown
// commands and options with the nearest one, missing, empty and surplus values, repeated options,
// what is required. No errors where a word asks for help or the version.
ArgumentCheck check_arguments(const CLI::App& app, std::span<const std::string> words);

// What the parser found wrong after that, in our words.
Error argument_error(const CLI::ParseError& error);

}  // namespace intaglio::cli
