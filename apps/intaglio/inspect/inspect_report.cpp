#include "inspect/inspect_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "inspect/inspect_linears.h"
#include "inspect/inspect_memory.h"
#include "inspect/inspect_settings.h"
#include "io/checkpoint.h"
#include "io/formats/tensor_set.h"
#include "io/json_config.h"
#include "io/png.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

// What tells a part of a model, best first.
constexpr std::array<const char*, 3> kPartFiles{"config.json", "tokenizer.json",
                                                "scheduler_config.json"};

uint64_t size_of(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  return error ? 0 : static_cast<uint64_t>(size);
}

void add_file(PartReport& part, const fs::path& path) {
  part.files.push_back(path);
  part.file_bytes += size_of(path);
}

void set_tensors(PartReport& part, std::vector<const TensorEntry*> tensors) {
  part.tensors = std::move(tensors);
  for (const TensorEntry* tensor : part.tensors)
    part.parameters += static_cast<uint64_t>(tensor->shape().count());
}

// Scalars and short lists of a config, in the file's words; the settings that tell a model's size.
ordered_json settings(const json& config) {
  static const std::vector<std::string> kKeys = {"num_layers",
                                                 "num_hidden_layers",
                                                 "num_attention_heads",
                                                 "num_key_value_heads",
                                                 "attention_head_dim",
                                                 "head_dim",
                                                 "hidden_size",
                                                 "intermediate_size",
                                                 "adaln_dim",
                                                 "in_channels",
                                                 "llm_features_dim",
                                                 "vocab_size",
                                                 "mrope_section",
                                                 "rope_theta",
                                                 "latent_channels",
                                                 "block_out_channels",
                                                 "decoder_block_out_channels",
                                                 "layers_per_block",
                                                 "norm_num_groups",
                                                 "patch_size",
                                                 "shift",
                                                 "num_train_timesteps",
                                                 "text_activation_layers",
                                                 "intaglio"};
  ordered_json result = ordered_json::object();
  for (const std::string& key : kKeys) {
    if (config.contains(key) && !config.at(key).is_null()) result[key] = config.at(key);
  }
  return result;
}

std::string class_name(const json& config) {
  if (config.contains("_class_name") && config.at("_class_name").is_string())
    return config.at("_class_name").get<std::string>();
  if (config.contains("architectures") && config.at("architectures").is_array() &&
      !config.at("architectures").empty() && config.at("architectures").front().is_string()) {
    return config.at("architectures").front().get<std::string>();
  }
  return "";
}

PartReport config_report(const fs::path& path, const JsonConfig& read, const JsonConfig& index) {
  const json& config = read.json();
  PartReport part{.name = path.filename().string(), .kind = "config"};
  part.detail = class_name(config);
  part.facts = settings(config.contains("text_config") && config.at("text_config").is_object()
                            ? config.at("text_config")
                            : config);
  add_settings_facts(read, index, part.facts);
  add_file(part, path);
  return part;
}

JsonConfig no_index() { return *JsonConfig::parse("{}", "model_index.json"); }

size_t size_at(const json& object, const char* key) {
  return object.is_object() && object.contains(key) && object.at(key).is_structured()
             ? object.at(key).size()
             : 0;
}

PartReport tokenizer_report(const fs::path& path, const json& tokenizer) {
  PartReport part{.name = path.filename().string(), .kind = "tokenizer"};
  const json& model = tokenizer.at("model");
  const auto text_at = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object.at(key).is_string()
               ? object.at(key).get<std::string>()
               : "none";
  };
  part.facts = {
      {"type", text_at(model, "type")},
      {"vocabulary", size_at(model, "vocab")},
      {"merges", size_at(model, "merges")},
      {"added_tokens", size_at(tokenizer, "added_tokens")},
      {"normalizer",
       tokenizer.contains("normalizer") ? text_at(tokenizer.at("normalizer"), "type") : "none"}};
  part.detail = fmt::format("{}, {} entries, {} merges, {} added tokens",
                            part.facts["type"].get<std::string>(), size_at(model, "vocab"),
                            size_at(model, "merges"), size_at(tokenizer, "added_tokens"));
  add_file(part, path);
  return part;
}

Expected<PartReport> json_report(const fs::path& path, const JsonConfig& index) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(path));
  if (config.contains("model") && config.json().at("model").is_object() &&
      config.json().at("model").contains("vocab")) {
    return tokenizer_report(path, config.json());
  }
  return config_report(path, config, index);
}

bool holds_tensors(const fs::path& path) {
  return path.extension() == ".safetensors" || path.extension() == ".gguf";
}

Expected<PartReport> tensors_report(const fs::path& path) {
  INTAGLIO_ASSIGN(auto file, open_tensor_file(path));
  PartReport part{.name = path.filename().string(),
                  .kind = "weights",
                  .detail = std::string(container_name(file->container()))};
  add_file(part, path);
  std::vector<const TensorEntry*> tensors;
  for (const TensorEntry& tensor : file->tensors()) tensors.push_back(&tensor);
  set_tensors(part, std::move(tensors));
  add_linear_facts(StoredWeights::open(file), part);
  std::map<std::string, std::string> metadata = file->metadata();
  // The linears say it, one by one.
  if (!part.linears.empty()) metadata.erase("_quantization_metadata");
  if (!metadata.empty()) part.facts["metadata"] = metadata;
  add_transformer_memory(path, std::nullopt, part.facts);
  part.keep_alive = std::move(file);
  return part;
}

Expected<PartReport> picture_report(const fs::path& path) {
  INTAGLIO_ASSIGN(const auto picture, read_png(path));
  PartReport part{.name = path.filename().string(), .kind = "picture"};
  part.detail = fmt::format("PNG, {}x{} pixels", picture.first.width, picture.first.height);
  add_file(part, path);
  part.facts = {{"width", picture.first.width}, {"height", picture.first.height}};
  for (const auto& [key, text] : picture.second) part.facts["text"][key] = text;
  return part;
}

// Weights that a checkpoint folder (or its index) names.
Expected<PartReport> checkpoint_report(const fs::path& weights) {
  INTAGLIO_ASSIGN(auto checkpoint, Checkpoint::open(weights));
  PartReport part{.name = weights.filename().string(), .kind = "weights"};
  for (const auto& file : checkpoint->files()) add_file(part, file->path());
  set_tensors(part, checkpoint->tensors());
  part.detail = part.files.size() > 1
                    ? fmt::format("{} shards", part.files.size())
                    : std::string(container_name(checkpoint->files().front()->container()));
  add_linear_facts(StoredWeights::open(checkpoint), part);
  part.keep_alive = std::move(checkpoint);
  return part;
}

// A config and its weights.
Expected<PartReport> part_report(const PartFiles& files, const std::string& name,
                                 const JsonConfig& index) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(files.config));
  INTAGLIO_ASSIGN(PartReport part, checkpoint_report(files.weights));
  PartReport summary = config_report(files.config, config, index);
  part.name = name;
  part.detail = summary.detail;
  if (part.facts.is_object()) summary.facts.update(part.facts);
  part.facts = std::move(summary.facts);
  if (const auto used = used_tensors(part.name, config, index)) {
    part.knows_use = true;
    for (const TensorEntry* tensor : part.tensors) {
      if (!used->contains(std::string(without_model_prefix(tensor->name))))
        part.unused.push_back(tensor);
    }
  }
  return part;
}

void add_part(Expected<PartReport> part, const std::string& name, InspectReport& report) {
  if (!part) {
    report.errors.push_back(part.error());
    return;
  }
  part->name = name;
  report.parts.push_back(std::move(*part));
}

void inspect_folder_part(const fs::path& folder, const JsonConfig& index, InspectReport& report) {
  std::error_code ignored;
  const std::string name = folder.filename().string();
  Expected<PartReport> part = tl::unexpected<Error>(Error{});
  if (fs::exists(folder / "config.json", ignored)) {
    part = part_report(PartFiles::in(folder), name, index);
    if (part && report.kind == "part") {
      if (const auto config = JsonConfig::open(folder / "config.json"))
        add_transformer_memory(folder, *config, part->facts);
    }
  } else if (fs::exists(folder / "tokenizer.json", ignored)) {
    part = json_report(folder / "tokenizer.json", index);
  } else if (fs::exists(folder / "scheduler_config.json", ignored)) {
    part = json_report(folder / "scheduler_config.json", index);
  } else {
    part = make_error(ErrorCode::kNotFound,
                      "{}: no config.json, tokenizer.json or scheduler_config.json in it",
                      folder.string());
  }
  add_part(std::move(part), name, report);
}

// Parts that come from elsewhere, and those that lie in the model's folder and are not among them.
Expected<InspectReport> inspect_model(const ModelPaths& paths) {
  const fs::path& folder = paths.folder;
  InspectReport report{.path = folder, .kind = "model"};
  INTAGLIO_ASSIGN(const JsonConfig index, JsonConfig::open(folder / "model_index.json"));
  report.detail = class_name(index.json());
  const Expected<ModelFiles> files = find_model_files(paths, index);
  if (std::optional<PartReport> schedules = schedules_report(paths, index)) {
    add_settings_facts(index, index, schedules->facts);
    add_model_memory(paths, schedules->facts);
    add_file(*schedules, folder / "model_index.json");
    report.parts.push_back(std::move(*schedules));
  }
  std::map<std::string, PartFiles> elsewhere;
  if (paths.overrides()) {
    if (!files) return tl::unexpected<Error>(files.error());
    if (paths.transformer) elsewhere["transformer"] = files->transformer;
    if (paths.unconditional) elsewhere["unconditional_transformer"] = *files->unconditional;
    if (paths.text_encoder) elsewhere["text_encoder"] = files->text_encoder;
    if (paths.vae) elsewhere["vae"] = files->vae;
  }
  for (const auto& [name, part] : elsewhere) add_part(part_report(part, name, index), name, report);
  if (paths.tokenizer) add_part(json_report(files->tokenizer, index), "tokenizer", report);
  for (const auto& [key, value] : index.json().items()) {
    // [library, class]; [null, null] is a part this model does without.
    if (!value.is_array() || value.size() != 2 || !value.at(0).is_string()) continue;
    if (key.find('/') != std::string::npos || key == ".." || key == ".") continue;
    if (elsewhere.contains(key) || (key == "tokenizer" && paths.tokenizer)) continue;
    if (key == "unconditional_transformer" && paths.without_unconditional) continue;
    inspect_folder_part(folder / key, index, report);
  }
  Expected<std::optional<PromptHelp>> help = read_prompt_help(folder);
  if (help) {
    report.prompt_help = std::move(*help);
  } else {
    report.errors.push_back(help.error());
  }
  return report;
}

Expected<InspectReport> inspect_folder(const ModelPaths& paths) {
  const fs::path& folder = paths.folder;
  std::error_code error;
  if (fs::exists(folder / "model_index.json", error)) return inspect_model(paths);
  if (paths.overrides())
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: no model (there is no model_index.json in it), so it has no parts that "
                      "could come from elsewhere",
                      folder.string());
  InspectReport report{.path = folder, .kind = "part"};
  // A part lies beside its model's index, which may change what is used of it.
  JsonConfig index = no_index();
  if (auto beside = JsonConfig::open(folder / ".." / "model_index.json"))
    index = std::move(*beside);
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (holds_tensors(entry.path())) files.push_back(entry.path());
  }
  if (error) {
    return make_error(ErrorCode::kIo, "{}: cannot list: {}", folder.string(), error.message());
  }
  const bool known = std::any_of(kPartFiles.begin(), kPartFiles.end(), [&](const char* file) {
    return fs::exists(folder / file, error);
  });
  // Loose tensors may have any JSON beside them: without a config.json they are files, not a part.
  if (known && (files.empty() || fs::exists(folder / "config.json", error))) {
    inspect_folder_part(folder, index, report);
    return report;
  }
  report.kind = "folder";
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    Expected<PartReport> part = tensors_report(file);
    if (part) {
      report.parts.push_back(std::move(*part));
    } else {
      report.errors.push_back(part.error());
    }
  }
  if (files.empty()) {
    return make_error(
        ErrorCode::kNotFound,
        "{}: no model: no model_index.json, config.json, tokenizer.json, safetensors or GGUF in it",
        folder.string());
  }
  return report;
}

Expected<PartReport> inspect_file(const fs::path& path) {
  const std::string name = path.filename().string();
  if (holds_tensors(path)) return tensors_report(path);
  if (name.ends_with(".safetensors.index.json")) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    INTAGLIO_ASSIGN(PartReport part, checkpoint_report(folder));
    part.name = name;
    return part;
  }
  if (name.ends_with(".json")) return json_report(path, no_index());
  if (name.ends_with(".png")) return picture_report(path);
  return make_error(ErrorCode::kBadFormat,
                    "{}: unknown kind of file; expected .safetensors, .gguf, .json or .png",
                    path.string());
}

}  // namespace

Expected<InspectReport> inspect_path(const ModelPaths& paths) {
  const fs::path& path = paths.folder;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    return make_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  if (fs::is_directory(status)) {
    ModelPaths named = paths;
    if (!path.has_filename()) named.folder = path.parent_path();
    return inspect_folder(named);
  }
  if (paths.overrides())
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: is a file; only a model has parts that could come from elsewhere",
                      path.string());
  InspectReport report{.path = path, .kind = "file"};
  INTAGLIO_ASSIGN(PartReport part, inspect_file(path));
  report.detail = part.kind;
  report.parts.push_back(std::move(part));
  return report;
}

}  // namespace intaglio::cli
