// Tables of tuning results as files: list, export, import. None of it needs a GPU.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/tuning_cache.h"

namespace intaglio::cli {

nlohmann::ordered_json entry_json(const cuda::TuningEntry& entry);
nlohmann::ordered_json key_json(const cuda::TuningKey& key);

// Writes the table of `key` to `target`; without a key that of the one card whose name contains
// `card`. kNotFound if there is none with entries, kInvalidArgument naming them if there are
// several.
Expected<cuda::TuningTable> export_table(const std::filesystem::path& target,
                                         const std::optional<cuda::TuningKey>& key,
                                         const std::string& card);

// Adds an exported table to the cache: under `key`, the GPU at hand, if it is of the same card (the
// driver may differ), else under its own.
struct ImportedTable {
  cuda::TuningTable table;
  std::filesystem::path file;
  std::vector<std::string> notes;
};
Expected<ImportedTable> import_table(const std::filesystem::path& source,
                                     const std::optional<cuda::TuningKey>& key);

}  // namespace intaglio::cli
