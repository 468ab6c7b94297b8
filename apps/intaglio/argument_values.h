// The readings of single values of the command line, and of words that are nearly right.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace intaglio::cli {

// The one of `names` that `word` was likely meant to be: one letter in three may be wrong, left
// out, added or swapped with its neighbour, or `word` is the beginning of that name alone.
std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> names);
// ", nearest: NAME", or nothing.
std::string nearest_text(std::string_view word, std::span<const std::string> names);

// Decimal digits with an optional minus, nothing else; leading zeros count for nothing. nullopt
// beyond int64.
std::optional<int64_t> whole_number(std::string_view text);

// The option takes whole numbers from `min` to `max` only.
CLI::Option* limit(CLI::Option* option, int64_t min, int64_t max);
// The option takes one of `names` only.
CLI::Option* choose_from(CLI::Option* option, std::vector<std::string> names);
// These names; none of an option that takes others.
std::vector<std::string> choices_of(CLI::Option& option);

// --threads N, 0 unless given.
void add_threads_flag(CLI::App& command, int& threads);

}  // namespace intaglio::cli
