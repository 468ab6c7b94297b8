// `intaglio cache`, and the flag of commands that use the cache of packed weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "command.h"
#include "core/status.h"

namespace intaglio::cli {

void add_cache(CLI::App& app, Action& action);

// --packed-cache off|SIZE.
void add_packed_cache_flag(CLI::App& command, std::optional<std::string>& flag);
// Turns the cache of this process on or off, as the flag says, else INTAGLIO_PACKED_CACHE, else
// with kDefaultPackedLimit for models that are worth it. A size that is given keeps small ones too.
// kInvalidArgument names the flag or the variable; kNotFound where a size is given and there is no
// folder for it.
Status use_packed_cache(const std::optional<std::string>& flag);

// Seconds of "90m", "12h", "30d", "2w"; kInvalidArgument names `flag`.
Expected<int64_t> parse_age(std::string_view flag, const std::string& text);

}  // namespace intaglio::cli
