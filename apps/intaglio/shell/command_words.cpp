#include "shell/command_words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include "argument_values.h"

namespace intaglio::cli {
namespace {

OptionWords option_words(CLI::Option& option) {
  OptionWords words{.description = option.get_description(),
                    .preset = option.get_default_str(),
                    .is_required = option.get_required()};
  if (option.get_positional()) {
    words.names.push_back(option.get_name(true));
  } else {
    for (const std::string& name : option.get_snames()) words.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) words.names.push_back("--" + name);
  }
  if (option.get_items_expected_max() > 0) {
    words.value = option.get_type_name();
    words.choices = choices_of(option);
  }
  return words;
}

CommandWords words_of(CLI::App& app, std::vector<std::string> path) {
  path.push_back(app.get_name());
  CommandWords words{
      .path = path, .description = app.get_description(), .footer = app.get_footer()};
  for (CLI::Option* option : app.get_options()) {
    std::vector<OptionWords>& kind = option->get_positional() ? words.arguments : words.options;
    kind.push_back(option_words(*option));
  }
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    words.commands.push_back(words_of(*command, path));
  return words;
}

}  // namespace

bool OptionWords::takes_path() const {
  for (const char* const kind : {"FILE", "DIR", "DST", "SRC"})
    if (value.find(kind) != std::string::npos) return true;
  return names.front() == "--model" || names.front() == "--output";
}

std::string CommandWords::joined(char separator) const {
  return fmt::format("{}", fmt::join(path, std::string(1, separator)));
}

CommandWords command_words(CLI::App& app) { return words_of(app, {}); }

}  // namespace intaglio::cli
