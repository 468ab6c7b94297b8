#include "tune/tune_tables.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "io/printable.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "options.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

// The table of the one card that `card` means.
Expected<cuda::TuningTable> table_of_card(const fs::path& folder, const std::string& card) {
  const cuda::TuningFiles files = cuda::list_tuning_files(folder);
  std::vector<const cuda::TuningTable*> found;
  std::vector<std::string> names;
  for (const auto& [path, table] : files.tables) {
    if (table.size() == 0 || table.key.card.find(card) == std::string::npos) continue;
    found.push_back(&table);
    names.push_back(cuda::describe(table.key));
  }
  if (found.size() == 1) return *found.front();
  if (found.empty()) {
    return make_error(ErrorCode::kNotFound, "{}: no tuning results{} to export", folder.string(),
                      card.empty() ? "" : fmt::format(" of \"{}\"", printable(card, 60)));
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "--export: results of several cards; choose with --card:\n  {}",
                    fmt::join(names, "\n  "));
}

}  // namespace

nlohmann::ordered_json entry_json(const cuda::TuningEntry& e) {
  return {{"m", e.shape.m},
          {"n", e.shape.n},
          {"k", e.shape.k},
          {"fusion", epilogue_name(e.shape.epilogue)},
          {"out", cuda::s8_out_name(e.shape.out_type)},
          {"family", cuda::s8_gemm_family_name(e.choice.family)},
          {"config", e.choice.config},
          {"band", e.choice.band},
          {"split_k", e.choice.split_k},
          {"median_ms", e.median_ms}};
}

nlohmann::ordered_json key_json(const cuda::TuningKey& key) {
  return {{"card", key.card},
          {"compute_capability", key.compute_capability},
          {"driver_version", key.driver_version},
          {"kernel_version", key.kernel_version}};
}

Expected<cuda::TuningTable> export_table(const fs::path& target,
                                         const std::optional<cuda::TuningKey>& key,
                                         const std::string& card) {
  INTAGLIO_ASSIGN(const fs::path folder, cuda::tuning_folder());
  cuda::TuningTable table;
  if (key && card.empty()) {
    table = cuda::TuningCache::open(*key, folder).user();
    if (table.size() == 0) {
      return make_error(ErrorCode::kNotFound, "{}: no tuning results of {} to export",
                        folder.string(), cuda::describe(*key));
    }
  } else {
    INTAGLIO_ASSIGN(table, table_of_card(folder, card));
  }
  INTAGLIO_TRY(write_file_atomic(target, cuda::tuning_table_text(table)));
  return table;
}

Expected<ImportedTable> import_table(const fs::path& source,
                                     const std::optional<cuda::TuningKey>& key) {
  ImportedTable imported;
  INTAGLIO_ASSIGN(imported.table, cuda::read_exported_table(source));
  INTAGLIO_ASSIGN(const fs::path folder, cuda::tuning_folder());
  cuda::TuningKey target = imported.table.key;
  if (key && cuda::same_card(*key, target)) {
    if (key->driver_version != target.driver_version) {
      imported.notes.push_back(fmt::format("measured with another driver: {}; used for {}",
                                           cuda::describe(target), cuda::describe(*key)));
    }
    target = *key;
  } else if (key) {
    imported.notes.push_back(
        fmt::format("is of another card than this machine's: {}", cuda::describe(target)));
  }
  cuda::TuningCache cache = cuda::TuningCache::open(target, folder);
  INTAGLIO_TRY(cache.save(imported.table.entries()));
  imported.file = cache.file();
  imported.notes.insert(imported.notes.end(), cache.notes().begin(), cache.notes().end());
  return imported;
}

}  // namespace intaglio::cli
