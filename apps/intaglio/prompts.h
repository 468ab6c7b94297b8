// What to draw, from the command line, standard input, pipes and files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio::cli {

// What a picture is asked for by, in the words of the flags: those of the command line, or of one
// line of --prompts.
struct PictureSettings {
  std::string prompt;
  std::optional<std::string> negative_prompt, seed, size, output;
  std::optional<std::string> preset, steps, mu, std, shift, guidance;  // of the schedule
  std::optional<std::string> cache, progressive;
};

// The whole text of `path`, "-" being standard input. What is no regular file (a pipe, a terminal)
// is read to its end. kCancelled if a signal asks to stop meanwhile; kBadFormat above `max_bytes`.
Expected<std::string> read_text(const std::string& path, size_t max_bytes);

// The file that an argument of --prompt names ("-" for standard input): of "-", "@-" and "@FILE";
// nullopt for a text.
std::optional<std::string> prompt_file(const std::string& argument);

// --prompt: a text, "@@..." for one that begins with an @, or what prompt_file says without its
// last line break. Must be UTF-8 and not blank.
Expected<std::string> read_prompt(const std::string& argument);

struct PromptLine {
  std::string where;  // "prompts.txt:3"
  PictureSettings settings;
};

// kInvalidArgument, beginning with `where`, where a line says more than its prompt and what `taken`
// has: "only "prompt" is of a line here, found "steps"".
Status check_line_settings(const PictureSettings& settings, const std::string& where,
                           const std::vector<std::string_view>& taken = {});

// --prompts: one prompt a line, blank lines skipped; or, where the first begins with {", a JSON
// object a line with "prompt" and settings of its own. Every wrong line is an error.
std::vector<PromptLine> read_prompts(const std::string& path, std::vector<Error>& errors);
// The same of a text that came from `name`.
std::vector<PromptLine> parse_prompts(std::string_view text, const std::string& name,
                                      std::vector<Error>& errors);
// Of a file whose lines say nothing but prompts; the first error.
Expected<std::vector<std::string>> read_bare_prompts(const std::string& path);

}  // namespace intaglio::cli
