#include "inspect/prompt_help.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMostSections = 64;
constexpr size_t kMostValues = 4096;
constexpr size_t kMostBytes = 2000;  // of a value; longer ones are cut when printed

Expected<std::string> text_at(const json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    return make_error(ErrorCode::kBadFormat, "{}: {}: expected a text", where, key);
  return found->get<std::string>();
}

Expected<PromptHelpSection> section_of(const json& item, const std::string& where) {
  if (!item.is_object())
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected an object", where,
                      item.type_name());
  PromptHelpSection section;
  INTAGLIO_ASSIGN(section.title, text_at(item, "title", where));
  const auto values = item.find("values");
  if (values == item.end() || !values->is_array() || values->empty() ||
      values->size() > kMostValues)
    return make_error(ErrorCode::kBadFormat, "{}: values: expected 1 to {} texts", where,
                      kMostValues);
  for (const json& value : *values) {
    if (!value.is_string())
      return make_error(ErrorCode::kBadFormat, "{}: values: found {}, expected texts", where,
                        value.type_name());
    section.values.push_back(value.get<std::string>());
  }
  return section;
}

// Code points: close enough to columns for prompts, and never too few.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// Words of several values share lines; a break never parts a value that would fit a line of its
// own.
void append_wrapped(std::string& out, const std::vector<std::string>& values,
                    std::string_view between, size_t columns) {
  constexpr size_t kIndent = 4;
  size_t used = 0;
  const auto put = [&](std::string_view piece, bool new_line) {
    if (used == 0 || new_line) {
      if (used != 0) out += '\n';
      out.append(kIndent, ' ');
      used = kIndent;
    } else {
      out += ' ';
      ++used;
    }
    out += piece;
    used += width_of(piece);
  };
  for (size_t i = 0; i < values.size(); ++i) {
    std::string value = printable(values[i], kMostBytes);
    if (i + 1 < values.size()) value += between;
    const size_t width = width_of(value);
    // JSON stays on one line, to be copied.
    if (kIndent + width <= columns || value.starts_with('{')) {
      put(value, used + 1 + width > columns);
      continue;
    }
    // Longer than a line: word by word, from a line of its own.
    bool first = true;
    for (size_t begin = 0; begin < value.size();) {
      const size_t end = std::min(value.find(' ', begin), value.size());
      const std::string_view word(value.data() + begin, end - begin);
      put(word, first || used + 1 + width_of(word) > columns);
      first = false;
      begin = end + 1;
    }
  }
  out += '\n';
}

}  // namespace

Expected<std::optional<PromptHelp>> read_prompt_help(const fs::path& folder) {
  const fs::path file = folder / "vocabulary.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::optional<PromptHelp>();
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(file));
  const json& root = config.json();
  PromptHelp help;
  INTAGLIO_ASSIGN(help.about, text_at(root, "about", file.string()));
  const auto sections = root.find("sections");
  if (sections == root.end() || !sections->is_array() || sections->empty() ||
      sections->size() > kMostSections)
    return make_error(ErrorCode::kBadFormat, "{}: sections: expected a list of 1 to {} objects",
                      file.string(), kMostSections);
  for (size_t i = 0; i < sections->size(); ++i) {
    INTAGLIO_ASSIGN(PromptHelpSection section,
                    section_of(sections->at(i), fmt::format("{}: sections[{}]", file.string(), i)));
    help.sections.push_back(std::move(section));
  }
  return std::optional<PromptHelp>(std::move(help));
}

std::string prompt_help_text(const PromptHelp& help, size_t columns) {
  std::string out = "what it draws:\n";
  append_wrapped(out, {help.about}, "", columns);
  for (const PromptHelpSection& section : help.sections) {
    // Values of several words with commas of their own would run together.
    const bool has_commas =
        std::any_of(section.values.begin(), section.values.end(),
                    [](const std::string& value) { return value.find(',') != std::string::npos; });
    out += section.values.size() > 1
               ? fmt::format("  {} ({}):\n", printable(section.title), section.values.size())
               : fmt::format("  {}:\n", printable(section.title));
    if (has_commas) {
      for (const std::string& value : section.values) append_wrapped(out, {value}, "", columns);
    } else {
      append_wrapped(out, section.values, ",", columns);
    }
  }
  return out;
}

nlohmann::ordered_json prompt_help_json(const PromptHelp& help) {
  nlohmann::ordered_json sections = nlohmann::ordered_json::array();
  for (const PromptHelpSection& section : help.sections)
    sections.push_back({{"title", section.title}, {"values", section.values}});
  return {{"about", help.about}, {"sections", std::move(sections)}};
}

}  // namespace intaglio::cli
