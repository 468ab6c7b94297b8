// Where choices come from at run time: what this machine measured, else what we ship for its card,
// else the heuristic.
//
//   $XDG_CACHE_HOME/intaglio/tuning/<card>-sm<cc>-d<driver>-k<kernels>.v<format>.json     (else ~/.cache/intaglio/tuning/)
//
// Reading never waits and never fails: a file that is missing, damaged or of another card counts as
// empty and is reported. Writing takes a lock beside the file, reads what others wrote meanwhile,
// adds its own and replaces the file whole, so that several processes lose nothing.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/tile_configs.h"
#include "ops/cuda/tuning/tuning_data.h"
#include "ops/cuda/tuning/tuning_table.h"

namespace intaglio::cuda {

// Where this machine's tables are (core/files.h).
Expected<std::filesystem::path> tuning_folder();

// The name of the file of `key` in the folder; different keys have different names.
std::string tuning_file_name(const TuningKey& key);

enum class ChoiceSource { kUserCache, kShippedTable, kHeuristic };
const char* choice_source_name(ChoiceSource source);  // "user cache", "shipped table", "heuristic"

struct FoundChoice {
  S8GemmChoice choice;  // an empty config name: nothing runs
  ChoiceSource source = ChoiceSource::kHeuristic;
};

// find and choose may be called from several threads at once; save must be alone.
class TuningCache {
 public:
  // Reads both tables. Without a folder there is no user table, and its error is what save() says.
  // `data`: where shipped tables are; tests bring their own.
  static TuningCache open(const TuningKey& key, const Expected<std::filesystem::path>& folder,
                          std::span<const EmbeddedFile> data = tuning_data_files());

  // What was wrong with files that were read or replaced.
  const std::vector<std::string>& notes() const { return notes_; }
  const TuningTable& user() const { return user_; }
  const TuningTable& shipped() const { return shipped_; }
  // Empty without a folder.
  std::filesystem::path file() const { return file_.value_or(std::filesystem::path()); }

  // An entry counts only if `configs` holds its kernel and that serves the shape.
  FoundChoice choose(const CudaDevice& device, const S8GemmShape& shape,
                     std::span<const TileConfig> configs) const;

  // Adds entries to the file and to user(). Waits at most 10 s for other writers.
  // Errors: kIo (no folder, not writable, the lock stayed taken); user() has the entries all the
  // same.
  Status save(std::span<const TuningEntry> entries);

 private:
  TuningKey key_;
  Expected<std::filesystem::path> file_;
  TuningTable user_, shipped_;
  std::vector<std::string> notes_;
};

// The files of a folder that are tables, for lists and exports. What is none is noted.
struct TuningFiles {
  std::vector<std::pair<std::filesystem::path, TuningTable>> tables;  // by name
  std::vector<std::string> notes;
};
TuningFiles list_tuning_files(const std::filesystem::path& folder);

// Reads a table that somebody exported. Errors: kBadFormat for any wrong entry, kUnsupported for
// other kernels than this build's.
Expected<TuningTable> read_exported_table(const std::filesystem::path& path);

}  // namespace intaglio::cuda
