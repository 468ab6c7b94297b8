// `intaglio cache`: what is kept of prepared weights, and an end to it.
#include "cache/cache.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "console.h"
#include "core/files.h"
#include "core/memory_info.h"
#include "io/packed_folder.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

struct CacheFlags {
  bool json = false;
  std::vector<std::string> names;
  std::optional<std::string> older_than;
};

constexpr size_t kLeastNameDigits = 4;

std::string time_text(std::time_t time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time));
}

std::string about(const PackedEntry& entry, const std::string& what) {
  const auto found = entry.about.find(what);
  return found == entry.about.end() ? std::string() : found->second;
}

ordered_json entry_json(const PackedEntry& entry) {
  ordered_json json{{"name", entry.name()},
                    {"bytes", entry.bytes},
                    {"last_used", time_text(entry.last_used)},
                    {"in_use", entry.in_use}};
  for (const auto& [what, value] : entry.about) json[what] = value;
  if (!entry.problem.empty()) json["problem"] = entry.problem;
  return json;
}

ordered_json entries_json(const std::vector<PackedEntry>& entries) {
  ordered_json json = ordered_json::array();
  for (const PackedEntry& entry : entries) json.push_back(entry_json(entry));
  return json;
}

uint64_t bytes_of(const std::vector<PackedEntry>& entries) {
  uint64_t bytes = 0;
  for (const PackedEntry& entry : entries) bytes += entry.bytes;
  return bytes;
}

void print_entry(const PackedEntry& entry) {
  print(Stream::kOut, "{}  {:>9}  {}{}\n", entry.name(), format_bytes(entry.bytes),
        time_text(entry.last_used), entry.in_use ? "  in use" : "");
  if (!entry.problem.empty()) {
    print(Stream::kOut, "  not readable: {}\n", entry.problem);
    return;
  }
  print(Stream::kOut, "  {}, {}, {}\n", about(entry, "precision"), about(entry, "device"),
        about(entry, "source"));
  for (const char* const what : {"keep_bf16", "adapters"})
    if (!about(entry, what).empty()) print(Stream::kOut, "  {}: {}\n", what, about(entry, what));
}

Status list_cache(const CacheFlags& flags) {
  INTAGLIO_ASSIGN(const std::filesystem::path folder, cache_folder("packed", "packed weights"));
  INTAGLIO_ASSIGN(const std::vector<PackedEntry> entries, list_packed(folder));
  if (flags.json) {
    print_json({{"status", "ok"},
                {"folder", folder.string()},
                {"bytes", bytes_of(entries)},
                {"files", entries_json(entries)}});
    return {};
  }
  for (const PackedEntry& entry : entries) print_entry(entry);
  print(Stream::kOut, "{} in {} file{} in {}\n", format_bytes(bytes_of(entries)), entries.size(),
        entries.size() == 1 ? "" : "s", folder.string());
  return {};
}

// A beginning of its name, or the path that it was made from.
bool is_called(const PackedEntry& entry, const std::string& name) {
  return (name.size() >= kLeastNameDigits && entry.name().starts_with(name)) ||
         about(entry, "source") == name;
}

// Those that the flags name.
Expected<std::vector<PackedEntry>> chosen(const CacheFlags& flags,
                                          const std::vector<PackedEntry>& entries) {
  std::time_t before = std::time(nullptr) + 1;
  if (flags.older_than) {
    INTAGLIO_ASSIGN(const int64_t age, parse_age("--older-than", *flags.older_than));
    before = std::time(nullptr) - age;
  }
  for (const std::string& name : flags.names) {
    const auto called = [&](const PackedEntry& entry) { return is_called(entry, name); };
    if (std::none_of(entries.begin(), entries.end(), called))
      return make_error(ErrorCode::kNotFound,
                        "{}: no packed weights are called so (`intaglio cache list` has their "
                        "names) or were made from there",
                        printable(name, 200));
  }
  std::vector<PackedEntry> found;
  for (const PackedEntry& entry : entries) {
    const bool is_named = flags.names.empty() || std::any_of(flags.names.begin(), flags.names.end(),
                                                             [&](const std::string& name) {
                                                               return is_called(entry, name);
                                                             });
    if (is_named && (!flags.older_than || entry.last_used < before)) found.push_back(entry);
  }
  return found;
}

Status clear_cache(const CacheFlags& flags) {
  INTAGLIO_ASSIGN(const std::filesystem::path folder, cache_folder("packed", "packed weights"));
  INTAGLIO_ASSIGN(const std::vector<PackedEntry> entries, list_packed(folder));
  INTAGLIO_ASSIGN(const std::vector<PackedEntry> wanted, chosen(flags, entries));
  std::vector<PackedEntry> removed, kept;
  for (const PackedEntry& entry : wanted) {
    INTAGLIO_ASSIGN(const bool gone, remove_packed(entry.file));
    (gone ? removed : kept).push_back(entry);
  }
  if (flags.names.empty() && !flags.older_than) remove_hashes(folder);
  if (flags.json) {
    print_json({{"status", "ok"},
                {"folder", folder.string()},
                {"removed_bytes", bytes_of(removed)},
                {"removed", entries_json(removed)},
                {"in_use", entries_json(kept)}});
    return {};
  }
  for (const PackedEntry& entry : kept)
    print(Stream::kErr, "{}: in use, not removed\n", entry.name());
  print(Stream::kOut, "removed {} in {} file{} of {}\n", format_bytes(bytes_of(removed)),
        removed.size(), removed.size() == 1 ? "" : "s", folder.string());
  return {};
}

}  // namespace

Expected<int64_t> parse_age(std::string_view flag, const std::string& text) {
  constexpr int64_t kMost = int64_t{100} * 365 * 24 * 60 * 60;
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  int64_t seconds = 0;
  if (error == std::errc() && unit + 1 == end) {
    switch (*unit) {
      case 'm':
        seconds = 60;
        break;
      case 'h':
        seconds = 60 * 60;
        break;
      case 'd':
        seconds = 24 * 60 * 60;
        break;
      case 'w':
        seconds = 7 * 24 * 60 * 60;
        break;
      default:
        break;
    }
  }
  if (seconds > 0 && number >= 0 && number <= kMost / seconds) return number * seconds;
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected a time such as 90m, 12h, 30d or 2w, found \"{}\"", flag,
                    printable(text, 60));
}

void add_cache(CLI::App& app, Action& action) {
  auto flags = std::make_shared<CacheFlags>();
  CLI::App* command = app.add_subcommand("cache", "List or remove prepared weights kept on disk");
  command->require_subcommand(1);
  command->footer(
      "Weights that were converted for a precision and a device are kept in "
      "$XDG_CACHE_HOME/intaglio/packed, else in ~/.cache/intaglio/packed, and mapped by the next "
      "start. `generate --packed-cache` says how much they may take; what was not used for longest "
      "makes room.\n"
      "Examples:\n"
      "  intaglio cache list\n"
      "  intaglio cache clear --older-than 30d");
  const auto run = [flags, &action](Status (*what)(const CacheFlags&)) {
    action = [flags, what] {
      const Status status = what(*flags);
      return status ? kExitOk : fail(status.error(), flags->json);
    };
  };
  CLI::App* list = command->add_subcommand("list", "What is kept, last used first");
  list->add_flag("--json", flags->json, "Print one JSON result on stdout");
  list->footer("Examples:\n  intaglio cache list\n  intaglio cache list --json");
  list->callback([run] { run(list_cache); });
  CLI::App* clear = command->add_subcommand("clear", "Remove it; what a process uses stays");
  clear
      ->add_option("name", flags->names,
                   "Only these: the first digits of a name, at least 4, or the path that the "
                   "weights were made from")
      ->type_name("NAME");
  clear
      ->add_option("--older-than", flags->older_than,
                   "Only what has not been used for so long: 90m, 12h, 30d, 2w")
      ->type_name("TIME");
  clear->add_flag("--json", flags->json, "Print one JSON result on stdout");
  clear->footer(
      "Examples:\n"
      "  intaglio cache clear\n"
      "  intaglio cache clear --older-than 30d\n"
      "  intaglio cache clear 3f9a");
  clear->callback([run] { run(clear_cache); });
}

}  // namespace intaglio::cli
