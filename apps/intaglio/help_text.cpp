#include "help_text.h"

#include <fmt/format.h>

#include <vector>

namespace intaglio::cli {
namespace {

constexpr size_t kNameColumns = 28;

// One line of `text` after `column` characters are written already.
std::string wrapped_line(std::string_view line, size_t columns, size_t indent) {
  std::string result;
  size_t column = 0;
  while (!line.empty()) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, space);
    line.remove_prefix(std::min(space + 1, line.size()));
    if (column > 0 && column + 1 + word.size() > columns) {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > 0) {
      result += ' ';
      ++column;
    } else if (result.empty()) {
      column = indent;
    }
    result += word;
    column += word.size();
  }
  return result;
}

// "  NAME   text text
//           text"
std::string entry(const std::string& name, const std::string& text) {
  const std::string head = "  " + name;
  const size_t indent = kNameColumns + 2;
  std::string result = head;
  if (head.size() + 2 > indent) {
    result += "\n" + std::string(indent, ' ');
  } else {
    result += std::string(indent - head.size(), ' ');
  }
  return result + wrapped(text, kHelpColumns, indent) + "\n";
}

std::string option_name(const CLI::Option& option) {
  std::string name = option.get_name(option.get_positional(), !option.get_positional());
  if (option.get_items_expected_max() > 0 && !option.get_positional())
    name += " " + option.get_type_name();
  return name;
}

std::string option_text(const CLI::Option& option) {
  std::string text = option.get_description();
  if (option.get_required()) text += " (required)";
  if (!option.get_default_str().empty()) text += fmt::format(" [{}]", option.get_default_str());
  return text;
}

std::string usage(const CLI::App& app) {
  std::string names;
  for (const CLI::App* a = &app; a != nullptr; a = a->get_parent())
    names = a->get_name() + (names.empty() ? "" : " ") + names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) names += " " + option->get_name(true);
  }
  names += " [OPTIONS]";
  if (!app.get_subcommands([](const CLI::App*) { return true; }).empty()) names += " COMMAND";
  return "Usage: " + names + "\n";
}

}  // namespace

std::string wrapped(std::string_view text, size_t columns, size_t indent) {
  std::string result;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (begin > 0) result += "\n" + (line.empty() ? "" : std::string(indent, ' '));
    result += line.starts_with(' ') ? std::string(line) : wrapped_line(line, columns, indent);
    begin = end + 1;
  }
  return result;
}

std::string HelpText::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  std::string help = wrapped(app->get_description(), kHelpColumns, 0) + "\n" + usage(*app);
  std::string positionals, options, commands;
  for (const CLI::Option* option : app->get_options()) {
    std::string& group = option->get_positional() ? positionals : options;
    group += entry(option_name(*option), option_text(*option));
  }
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; }))
    commands += entry(command->get_name(), command->get_description());
  if (!commands.empty()) help += "\nCommands:\n" + commands;
  if (!positionals.empty()) help += "\nArguments:\n" + positionals;
  help += "\nOptions:\n" + options;
  if (!app->get_footer().empty()) help += "\n" + wrapped(app->get_footer(), kHelpColumns, 0) + "\n";
  return help;
}

}  // namespace intaglio::cli
