// What `intaglio inspect` finds out about files, ready for text or JSON.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/status.h"
#include "inspect/prompt_help.h"
#include "io/safetensors.h"
#include "models/model_files.h"

namespace intaglio::cli {

// A linear of quantized weights.
struct LinearReport {
  std::string name = {};
  std::string stored_as = {};  // "int8 rows turned by 256", "BF16"
  int64_t n = 0, k = 0;
  bool has_scales = false;
  float least_scale = 0.0f, median_scale = 0.0f, largest_scale = 0.0f;
};

// A file or one part of a model.
struct PartReport {
  std::string name = {};    // "transformer", or the file's name
  std::string kind = {};    // "weights", "tokenizer", "config", "picture"
  std::string detail = {};  // class name, vocabulary size, ... for people
  std::vector<std::filesystem::path> files = {};
  uint64_t file_bytes = 0;
  uint64_t parameters = 0;
  std::vector<const TensorEntry*> tensors = {};
  std::vector<const TensorEntry*> unused = {};  // by the engine
  std::vector<LinearReport> linears = {};       // of quantized weights
  bool knows_use = false;                       // false: `unused` says nothing
  nlohmann::ordered_json facts =
      {};  // kind-specific: config, metadata, tokenizer counts, text chunks
  std::shared_ptr<const void> keep_alive = {};  // holds the tensors
};

struct InspectReport {
  std::filesystem::path path = {};
  std::string kind = {};  // "model", "part", "folder", "file"
  std::string detail = {};
  std::vector<PartReport> parts = {};
  std::optional<PromptHelp> prompt_help = {};  // of a model that says what it draws
  std::vector<Error> errors = {};              // of parts that could not be read
};

// Errors: kNotFound for a missing path, kBadFormat for a file of no known kind. Parts of a folder
// that cannot be read join `errors`.
// `paths.folder` may be a file or any folder; only a model has parts that can come from elsewhere.
Expected<InspectReport> inspect_path(const ModelPaths& paths);

}  // namespace intaglio::cli
