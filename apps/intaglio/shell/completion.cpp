#include "shell/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace intaglio::cli {
namespace {

// `text` between single quotes.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c == '\n' ? ' ' : c;
    }
  }
  return result + "'";
}

// The first clause: what fits beside a name.
std::string summary(const std::string& description) {
  return description.substr(0, description.find_first_of(";:\n("));
}

std::string command_names(const CommandWords& command) {
  std::vector<std::string> names;
  for (const CommandWords& sub : command.commands) names.push_back(sub.name());
  return fmt::format("{}", fmt::join(names, " "));
}

// ---- bash

// "bench linear", without the program.
std::string bash_key(const CommandWords& command) {
  return fmt::format("{}", fmt::join(command.path.begin() + 1, command.path.end(), " "));
}

void bash_commands(const CommandWords& command, std::string& text) {
  for (const CommandWords& sub : command.commands) {
    text += fmt::format("      \"{}|{}\") command=\"{}\" ;;\n", bash_key(command), sub.name(),
                        bash_key(sub));
    bash_commands(sub, text);
  }
}

void bash_values(const CommandWords& command, std::string& text) {
  std::vector<std::string> others;
  for (const OptionWords& option : command.options) {
    if (option.value.empty()) continue;
    std::vector<std::string> keys;
    for (const std::string& name : option.names)
      keys.push_back(fmt::format("\"{}|{}\"", bash_key(command), name));
    const std::string pattern = fmt::format("{}", fmt::join(keys, "|"));
    if (!option.choices.empty()) {
      text += fmt::format("    {}) words=\"{}\" ;;\n", pattern, fmt::join(option.choices, " "));
    } else if (option.takes_path()) {
      text += fmt::format("    {}) compopt -o default; return ;;\n", pattern);
    } else {
      others.push_back(pattern);
    }
  }
  if (!others.empty()) text += fmt::format("    {}) return ;;\n", fmt::join(others, "|"));
  for (const CommandWords& sub : command.commands) bash_values(sub, text);
}

void bash_words(const CommandWords& command, std::string& text) {
  std::vector<std::string> options;
  for (const OptionWords& option : command.options)
    options.insert(options.end(), option.names.begin(), option.names.end());
  std::vector<std::string> words;
  for (const OptionWords& argument : command.arguments)
    words.insert(words.end(), argument.choices.begin(), argument.choices.end());
  text += fmt::format(
      "    \"{}|-\"*) words=\"{}\" ;;\n    \"{}|\"*) words=\"{}\" ;;\n", bash_key(command),
      fmt::join(options, " "), bash_key(command),
      words.empty() ? command_names(command) : fmt::format("{}", fmt::join(words, " ")));
  for (const CommandWords& sub : command.commands) bash_words(sub, text);
}

// ---- zsh

std::string zsh_escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_value(const OptionWords& option) {
  if (option.value.empty()) return "";
  std::string action = " ";
  if (!option.choices.empty()) {
    action = fmt::format("({})", fmt::join(option.choices, " "));
  } else if (option.takes_path()) {
    action = "_files";
  }
  return fmt::format(":{}:{}", zsh_escaped(option.value), action);
}

void zsh_function(const CommandWords& command, std::string& text) {
  for (const CommandWords& sub : command.commands) zsh_function(sub, text);
  text += fmt::format("_{}() {{\n", command.joined('_'));
  std::string specs;
  for (const OptionWords& option : command.options) {
    for (const std::string& name : option.names) {
      specs +=
          fmt::format(" \\\n    {}",
                      quoted(fmt::format("{}[{}]{}", name, zsh_escaped(summary(option.description)),
                                         zsh_value(option))));
    }
  }
  for (const OptionWords& argument : command.arguments)
    specs += " \\\n    " + quoted(zsh_value(argument));
  if (command.commands.empty()) {
    text += "  _arguments" + specs + "\n}\n\n";
    return;
  }
  text += "  local state line\n  local -a commands\n  _arguments -C" + specs +
          " \\\n    '1: :->command' '*:: :->words'\n  case $state in\n    command)\n"
          "      commands=(";
  for (const CommandWords& sub : command.commands)
    text += "\n        " + quoted(sub.name() + ":" + zsh_escaped(summary(sub.description)));
  text += ")\n      _describe command commands ;;\n    words)\n      case $line[1] in\n";
  for (const CommandWords& sub : command.commands)
    text += fmt::format("        {}) _{} ;;\n", sub.name(), sub.joined('_'));
  text += "      esac ;;\n  esac\n}\n\n";
}

// ---- fish

void fish_lines(const CommandWords& command, std::string& text) {
  std::string condition;
  for (size_t i = 1; i < command.path.size(); ++i) {
    condition +=
        fmt::format("{}__fish_seen_subcommand_from {}", i > 1 ? "; and " : "", command.path[i]);
  }
  // Until one of its commands is there.
  std::string open = condition;
  if (!command.commands.empty()) {
    open += fmt::format("{}not __fish_seen_subcommand_from {}", condition.empty() ? "" : "; and ",
                        command_names(command));
  }
  const auto line = [&](const std::string& when, const std::string& rest) {
    text += fmt::format("complete -c intaglio -n {} {}\n", quoted(when), rest);
  };
  for (const CommandWords& sub : command.commands) {
    line(open, fmt::format("-f -a {} -d {}", sub.name(), quoted(summary(sub.description))));
  }
  for (const OptionWords& option : command.options) {
    std::string rest;
    for (const std::string& name : option.names)
      rest += (name.starts_with("--") ? "-l " + name.substr(2) : "-s " + name.substr(1)) + " ";
    if (!option.choices.empty()) {
      rest += fmt::format("-x -a {} ", quoted(fmt::format("{}", fmt::join(option.choices, " "))));
    } else if (!option.value.empty()) {
      rest += option.takes_path() ? "-r -F " : "-x ";
    }
    line(open.empty() ? "true" : open, rest + "-d " + quoted(summary(option.description)));
  }
  for (const OptionWords& argument : command.arguments) {
    if (argument.choices.empty()) continue;
    line(open,
         fmt::format("-f -a {}", quoted(fmt::format("{}", fmt::join(argument.choices, " ")))));
  }
  for (const CommandWords& sub : command.commands) fish_lines(sub, text);
}

}  // namespace

std::string bash_completion(const CommandWords& program) {
  std::string commands, values, words;
  bash_commands(program, commands);
  bash_values(program, values);
  bash_words(program, words);
  return fmt::format(
      "# bash completion of intaglio, made by `intaglio completion bash`\n"
      "_intaglio() {{\n"
      "  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}\n"
      "  local command= word words=\n"
      "  COMPREPLY=()\n"
      "  for word in \"${{COMP_WORDS[@]:1:COMP_CWORD - 1}}\"; do\n"
      "    case \"$command|$word\" in\n{}    esac\n"
      "  done\n"
      "  case \"$command|$previous\" in\n{}  esac\n"
      "  [ -n \"$words\" ] || case \"$command|$current\" in\n{}  esac\n"
      "  if [ -n \"$words\" ]; then\n"
      "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
      "  else\n"
      "    compopt -o default\n"
      "  fi\n"
      "}}\n"
      "complete -F _intaglio intaglio\n",
      commands, values, words);
}

std::string zsh_completion(const CommandWords& program) {
  std::string text =
      "#compdef intaglio\n# zsh completion of intaglio, made by `intaglio completion zsh`\n";
  zsh_function(program, text);
  return text +
         "if [ \"$funcstack[1]\" = _intaglio ]; then _intaglio \"$@\"; else compdef _intaglio "
         "intaglio; fi\n";
}

std::string fish_completion(const CommandWords& program) {
  std::string text = "# fish completion of intaglio, made by `intaglio completion fish`\n";
  fish_lines(program, text);
  return text;
}

}  // namespace intaglio::cli
