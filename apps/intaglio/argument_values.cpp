#include "argument_values.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "core/escape.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

constexpr size_t kShown = 60;  // bytes of a wrong value
// Begins the name of the validator of one of several names.
constexpr std::string_view kChoices = "one of:";

// Letters to change, leave out, add or swap with a neighbour to get from `a` to `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return result;
}

}  // namespace

std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> names) {
  const std::string given = lower(word.substr(0, 100));
  std::optional<std::string> best;
  size_t least = std::max<size_t>(given.size() / 3, 1) + 1;
  for (const std::string& name : names) {
    const size_t distance = edit_distance(given, lower(name));
    if (distance >= least) continue;
    least = distance;
    best = name;
  }
  if (best || given.size() < 3) return best;
  for (const std::string& name : names) {
    if (!lower(name).starts_with(given)) continue;
    if (best) return std::nullopt;
    best = name;
  }
  return best;
}

std::string nearest_text(std::string_view word, std::span<const std::string> names) {
  const std::optional<std::string> name = nearest_word(word, names);
  return name ? ", nearest: " + *name : "";
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

CLI::Option* limit(CLI::Option* option, int64_t min, int64_t max) {
  // Rewritten in its plain form: the parser of options takes 010 for eight.
  const auto read = [min, max](std::string& text) -> std::string {
    const std::optional<int64_t> value = whole_number(text);
    if (!value || *value < min || *value > max) {
      return message_of("expected a whole number from {} to {}, found \"{}\"", min, max,
                        printable(text, kShown));
    }
    text = std::to_string(*value);
    return "";
  };
  option->transform(CLI::Validator(read, ""));
  option->type_name(fmt::format("{}..{}", min, max));
  return option;
}

CLI::Option* choose_from(CLI::Option* option, std::vector<std::string> names) {
  const auto read = [names](std::string& text) -> std::string {
    if (std::find(names.begin(), names.end(), text) != names.end()) return "";
    return message_of("expected one of {}, found \"{}\"{}", fmt::join(names, ", "),
                      printable(text, kShown), nearest_text(text, names));
  };
  // The validator's name keeps them for choices_of.
  const std::string kept = fmt::format("{}{}", kChoices, fmt::join(names, ","));
  option->transform(CLI::Validator(read, ""), kept);
  option->type_name("NAME");
  return option;
}

std::vector<std::string> choices_of(CLI::Option& option) {
  std::string name;
  try {
    name = option.get_validator(0)->get_name();
  } catch (const CLI::OptionNotFound&) {
    return {};
  }
  if (!name.starts_with(kChoices)) return {};
  return CLI::detail::split(name.substr(kChoices.size()), ',');
}

void add_threads_flag(CLI::App& command, int& threads) {
  constexpr int64_t kMaxThreads = 1024;
  limit(command.add_option("--threads", threads,
                           "Threads of the CPU; by default all cores this process may use"),
        1, kMaxThreads);
}

}  // namespace intaglio::cli
