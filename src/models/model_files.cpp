#include "models/model_files.h"

#include <nlohmann/json.hpp>

#include "io/printable.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Whether the index names a class for `part`; one it does not list at all counts if `if_absent`.
bool has_part(const JsonConfig& index, const char* part, bool if_absent) {
  if (!index.json().contains(part)) return if_absent;
  const nlohmann::json& value = index.json().at(part);
  return !value.is_null() && !(value.is_array() && value.size() == 2 && value.at(1).is_null());
}

// `given` in place of folder / name.
Expected<PartFiles> part_from(const fs::path& given, const fs::path& folder, const char* name) {
  const fs::path own_config = folder / name / "config.json";
  if (!is_there(given))
    return make_error(ErrorCode::kNotFound, "{}: no such file or folder; expected the {}",
                      given.string(), name);
  if (!is_folder(given)) {
    const fs::path beside = given.parent_path() / "config.json";
    return PartFiles{is_there(beside) ? beside : own_config, given};
  }
  if (is_there(given / "config.json")) return PartFiles::in(given);
  if (is_there(given / name / "config.json")) return PartFiles::in(given / name);
  // Weights alone; whether they are there is seen when they are opened.
  if (is_there(own_config)) return PartFiles{own_config, given};
  return make_error(ErrorCode::kNotFound, "{}: no config.json of a {} in it; there is {}",
                    given.string(), name, folder_contents(given));
}

Expected<PartFiles> find_part(const std::optional<fs::path>& given, const fs::path& folder,
                              const JsonConfig& index, const char* name) {
  if (given) return part_from(*given, folder, name);
  if (!has_part(index, name, true))
    return make_error(ErrorCode::kNotFound,
                      "{}{} is null: the model has none of its own, and none "
                      "was given from elsewhere",
                      index.where(), name);
  if (!is_folder(folder / name))
    return make_error(ErrorCode::kNotFound, "{}: no such folder; expected the {}",
                      (folder / name).string(), name);
  return PartFiles::in(folder / name);
}

Expected<fs::path> find_tokenizer(const std::optional<fs::path>& given, const fs::path& folder) {
  const fs::path where = given ? *given : folder / "tokenizer";
  if (!is_there(where))
    return make_error(ErrorCode::kNotFound, "{}: no such file or folder; expected the tokenizer",
                      where.string());
  if (!is_folder(where)) return where;
  for (const fs::path& inside : {where / "tokenizer.json", where / "tokenizer" / "tokenizer.json"})
    if (is_there(inside)) return inside;
  return make_error(ErrorCode::kNotFound,
                    "{}: no tokenizer.json in it; there is {} (vocab.json and merges.txt alone are "
                    "not read: save the tokenizer as a fast one)",
                    where.string(), folder_contents(where));
}

}  // namespace

Expected<ModelFiles> find_model_files(const ModelPaths& paths, const JsonConfig& index) {
  ModelFiles files;
  INTAGLIO_ASSIGN(files.transformer,
                  find_part(paths.transformer, paths.folder, index, "transformer"));
  INTAGLIO_ASSIGN(files.text_encoder,
                  find_part(paths.text_encoder, paths.folder, index, "text_encoder"));
  INTAGLIO_ASSIGN(files.vae, find_part(paths.vae, paths.folder, index, "vae"));
  const bool two_branches =
      paths.unconditional.has_value() || has_part(index, "unconditional_transformer", false);
  if (two_branches && !paths.without_unconditional) {
    INTAGLIO_ASSIGN(files.unconditional, find_part(paths.unconditional, paths.folder, index,
                                                   "unconditional_transformer"));
  }
  INTAGLIO_ASSIGN(files.tokenizer, find_tokenizer(paths.tokenizer, paths.folder));
  files.scheduler = paths.folder / "scheduler" / "scheduler_config.json";
  return files;
}

}  // namespace intaglio
