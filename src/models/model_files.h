// Where the parts of a model lie: a folder of the diffusers layout, or several.
#pragma once

#include <filesystem>
#include <optional>

#include "core/status.h"
#include "io/checkpoint.h"
#include "io/json_config.h"

namespace intaglio {

struct ModelPaths {
  std::filesystem::path folder = {};  // with model_index.json
  // In place of the folder's own: a folder of the part, one of a model that has it, or a
  // safetensors file (then the config is the one beside it, else that of `folder`); of the
  // tokenizer a folder or its tokenizer.json.
  std::optional<std::filesystem::path> transformer = {}, unconditional = {}, text_encoder = {},
                                       vae = {}, tokenizer = {};
  bool without_unconditional = false;  // leaves the unconditional transformer out

  bool overrides() const {
    return transformer || unconditional || text_encoder || vae || tokenizer ||
           without_unconditional;
  }
};

struct ModelFiles {
  PartFiles transformer, text_encoder, vae;
  std::optional<PartFiles> unconditional;  // nullopt: the model is distilled and does without
  std::filesystem::path tokenizer;         // tokenizer.json
  std::filesystem::path scheduler;         // scheduler_config.json
};

// `index`: the folder's model_index.json. Whether files are sound is their readers' affair;
// kNotFound names what is missing and what lies there.
Expected<ModelFiles> find_model_files(const ModelPaths& paths, const JsonConfig& index);

}  // namespace intaglio
