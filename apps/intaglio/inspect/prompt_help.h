// What a model can draw and how to ask for it: `vocabulary.json` beside its model_index.json.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"

namespace intaglio::cli {

struct PromptHelpSection {
  std::string title = {};  // "objects", "cannot"
  std::vector<std::string> values = {};
};

struct PromptHelp {
  std::string about = {};  // one line
  std::vector<PromptHelpSection> sections = {};
};

// nullopt where the folder has no vocabulary.json; kBadFormat naming file and key where it is
// wrong.
Expected<std::optional<PromptHelp>> read_prompt_help(const std::filesystem::path& folder);

// Printable lines of at most `columns`, each section's values wrapped under its title.
std::string prompt_help_text(const PromptHelp& help, size_t columns);

nlohmann::ordered_json prompt_help_json(const PromptHelp& help);

}  // namespace intaglio::cli
