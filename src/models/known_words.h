// The words that a model's prompts may hold, where it says so: the list "words" of vocabulary.json
// beside its model_index.json. Models that were trained on few words draw a blob for others.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio {

using KnownWords = std::set<std::string, std::less<>>;  // in lower case

// nullopt where the folder has no such file, or the file no such list: every word may be known.
// kBadFormat naming file and key where it is wrong.
Expected<std::optional<KnownWords>> read_known_words(const std::filesystem::path& folder);

// Words of a prompt outside its quotes that are not known, in lower case and in their order, each
// once. Letters and their marks make a word. One letter alone, and two or more capitals (to be
// drawn as they stand), count as known.
std::vector<std::string> unknown_words(const KnownWords& known, std::string_view prompt);

// One line on the unknown words of prompts: at most a few of them are named. model: as `inspect`
// takes it.
std::string unknown_words_warning(std::string_view model, const std::vector<std::string>& words);

}  // namespace intaglio
