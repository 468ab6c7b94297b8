#include "serve/serve_settings.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <map>
#include <sstream>
#include <vector>

#include "argument_check.h"
#include "argument_values.h"
#include "core/files.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using Values = std::vector<std::string>;

constexpr size_t kMaxSettings = 1 << 20;  // bytes of a file

std::string option_name(const CLI::Option& option) {
  return option.get_lnames().empty() ? "" : option.get_lnames().front();
}

bool is_setting(const std::string& name) { return name != "help" && name != "config"; }

// "max-queue" -> "INTAGLIO_SERVE_MAX_QUEUE"
std::string variable_name(std::string_view prefix, const std::string& name) {
  std::string variable = std::string(prefix) + "_" + name;
  for (char& c : variable) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (c == '-') c = '_';
  }
  return variable;
}

Status set(CLI::Option& option, const std::string& origin, const Values& values) {
  try {
    for (const std::string& value : values) option.add_result(value);
    option.run_callback();
  } catch (const CLI::ParseError& error) {
    return make_error(ErrorCode::kInvalidArgument, "{}: {}", origin, argument_error(error).message);
  }
  return {};
}

Expected<std::map<std::string, Values>> read_settings(const CLI::App& command,
                                                      const fs::path& file) {
  std::map<std::string, Values> settings;
  if (file.empty()) return settings;
  INTAGLIO_ASSIGN(const std::string text, read_file(file, kMaxSettings));
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options())
    if (is_setting(option_name(*option))) known.push_back(option_name(*option));
  std::vector<CLI::ConfigItem> items;
  std::istringstream stream(text);
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error&) {
    return make_error(ErrorCode::kBadFormat, "{}: expected lines such as port = 7860",
                      file.string());
  }
  for (const CLI::ConfigItem& item : items) {
    if (!item.parents.empty()) {
      return make_error(ErrorCode::kInvalidArgument, "{}: expected no sections, found [{}]",
                        file.string(), item.parents.front());
    }
    if (std::find(known.begin(), known.end(), item.name) == known.end()) {
      return make_error(ErrorCode::kInvalidArgument, "{}: unknown setting \"{}\"{}", file.string(),
                        item.name, OwnLines{nearest_text(item.name, known)});
    }
    settings[item.name] = item.inputs;
  }
  return settings;
}

}  // namespace

Status apply_settings(CLI::App& command, std::string_view prefix, const fs::path& file) {
  INTAGLIO_ASSIGN(const auto settings, read_settings(command, file));
  for (CLI::Option* option : command.get_options([](const CLI::Option*) { return true; })) {
    const std::string name = option_name(*option);
    if (!is_setting(name) || option->count() > 0) continue;
    const std::string variable = variable_name(prefix, name);
    const char* const value = std::getenv(variable.c_str());
    if (value != nullptr && *value != '\0') {
      INTAGLIO_TRY(set(*option, variable, {value}));
    } else if (const auto found = settings.find(name); found != settings.end()) {
      INTAGLIO_TRY(set(*option, file.string(), found->second));
    }
  }
  return {};
}

fs::path default_settings_file(std::string_view name) {
  for (const auto& [variable, below] :
       {std::pair("XDG_CONFIG_HOME", "intaglio"), std::pair("HOME", ".config/intaglio")}) {
    const char* const value = std::getenv(variable);
    if (value == nullptr || *value != '/') continue;
    const fs::path file = fs::path(value) / below / name;
    std::error_code ignored;
    return fs::exists(file, ignored) ? file : fs::path();
  }
  return {};
}

Expected<fs::path> data_folder(std::string_view name) {
  for (const auto& [variable, below] :
       {std::pair("XDG_DATA_HOME", "intaglio"), std::pair("HOME", ".local/share/intaglio")}) {
    const char* const value = std::getenv(variable);
    if (value != nullptr && *value == '/') return fs::path(value) / below / name;
  }
  return make_error(ErrorCode::kNotFound,
                    "no folder for jobs and pictures: give --data-dir, or set XDG_DATA_HOME or "
                    "HOME to an absolute path");
}

}  // namespace intaglio::cli
