#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "cache/cache.h"
#include "core/files.h"
#include "core/memory_info.h"
#include "interrupt.h"
#include "io/printable.h"
#include "models/parts/packed_cache.h"

namespace intaglio::cli {

void add_packed_cache_flag(CLI::App& command, std::optional<std::string>& flag) {
  command
      .add_option(
          "--packed-cache", flag,
          fmt::format("Most that prepared weights kept for the next start may take on disk, "
                      "or off; by default {}, of models of more than {}",
                      format_bytes(kDefaultPackedLimit), format_bytes(kDefaultPackedLeast)))
      ->type_name("off|SIZE");
}

Status use_packed_cache(const std::optional<std::string>& flag) {
  const char* const variable = std::getenv("INTAGLIO_PACKED_CACHE");
  const char* const what = flag ? "--packed-cache" : "INTAGLIO_PACKED_CACHE";
  const std::string text = flag ? *flag : variable != nullptr ? variable : "";
  set_packed_cache({});
  if (text == "off") return {};
  PackedCacheSettings settings{.folder = {},
                               .limit = kDefaultPackedLimit,
                               .least = kDefaultPackedLeast,
                               .cancel = &interrupted};
  if (flag || !text.empty()) {
    const std::optional<uint64_t> bytes = parse_bytes(text);
    if (!bytes || *bytes == 0)
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: expected off or a size such as 40G, found \"{}\"", what,
                        printable(text, 60));
    settings.limit = *bytes;
    settings.least = 0;
  }
  Expected<std::filesystem::path> folder = cache_folder("packed", "packed weights");
  if (!folder && settings.least > 0) return {};  // nobody has asked for it
  INTAGLIO_ASSIGN(settings.folder, std::move(folder));
  set_packed_cache(std::move(settings));
  return {};
}

}  // namespace intaglio::cli
