#include "shell/man_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace intaglio::cli {
namespace {

// Text of a line, without what roff would obey.
std::string roff(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else if (c == '\'' && (result.empty() || result.back() == '\n')) {
      result += "\\(aq";
    } else if (c == '.' && (result.empty() || result.back() == '\n')) {
      result += "\\&.";
    } else {
      result += c;
    }
  }
  return result;
}

// Lines that begin with a space are shown as they are.
std::string paragraphs(const std::string& text) {
  std::string result;
  bool literal = false;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    const bool shown = line.starts_with(' ');
    if (shown != literal) result += shown ? ".nf\n" : ".fi\n.PP\n";
    literal = shown;
    result += line.empty() ? ".PP\n" : roff(line) + "\n";
    begin = end + 1;
  }
  return result + (literal ? ".fi\n" : "");
}

std::string entry(const OptionWords& option) {
  std::string text =
      fmt::format(".TP\n.B {}", roff(fmt::format("{}", fmt::join(option.names, ", "))));
  const bool is_argument = !option.names.front().starts_with('-');
  if (!option.value.empty() && !is_argument) text += " \\fI" + roff(option.value) + "\\fR";
  text += '\n';
  text += paragraphs(option.description);
  if (option.is_required) text += "Required.\n";
  if (!option.preset.empty()) text += "Default: " + roff(option.preset) + ".\n";
  return text;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string see_also(const CommandWords& command) {
  std::vector<std::string> pages;
  if (command.path.size() > 1) {
    CommandWords parent = command;
    parent.path.pop_back();
    pages.push_back(fmt::format("\\fB{}\\fR(1)", roff(parent.joined('-'))));
  }
  for (const CommandWords& sub : command.commands)
    pages.push_back(fmt::format("\\fB{}\\fR(1)", roff(sub.joined('-'))));
  return fmt::format("{}\n", fmt::join(pages, ",\n"));
}

}  // namespace

std::string man_page(const CommandWords& command, const std::string& version) {
  std::string text = fmt::format(".TH {} 1 \"\" \"Intaglio {}\" \"Intaglio\"\n",
                                 upper(command.joined('-')), version);
  text += fmt::format(".SH NAME\n{} \\- {}\n", roff(command.joined('-')),
                      roff(command.description.substr(0, command.description.find('\n'))));
  text += ".SH SYNOPSIS\n.B " + roff(command.joined(' ')) + "\n";
  for (const OptionWords& argument : command.arguments)
    text += "\\fI" + roff(argument.names.front()) + "\\fR\n";
  text += "[OPTIONS]";
  text += command.commands.empty() ? "\n" : " COMMAND\n";
  text += ".SH DESCRIPTION\n" + paragraphs(command.description);
  if (!command.commands.empty()) {
    text += ".SH COMMANDS\n";
    for (const CommandWords& sub : command.commands)
      text += ".TP\n.B " + roff(sub.name()) + "\n" + paragraphs(sub.description);
  }
  if (!command.arguments.empty()) {
    text += ".SH ARGUMENTS\n";
    for (const OptionWords& argument : command.arguments) text += entry(argument);
  }
  text += ".SH OPTIONS\n";
  for (const OptionWords& option : command.options) text += entry(option);
  if (!command.footer.empty()) text += ".SH NOTES\n" + paragraphs(command.footer);
  return text + ".SH SEE ALSO\n" + see_also(command);
}

std::string man_page_file(const CommandWords& command) { return command.joined('-') + ".1"; }

}  // namespace intaglio::cli
