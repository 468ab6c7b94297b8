// The models this engine knows.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/diffusers_model.h"

namespace intaglio {

struct ModelKind {
  std::string_view class_name;                // of model_index.json
  std::string_view transformer_class;         // of transformer/config.json
  std::vector<std::string_view> sizes;        // names that `use_sizes` takes
  std::unique_ptr<DiffusersModel> (*make)();  // as yet of no files and no sizes
};

// In the order in which they are asked.
std::span<const ModelKind> model_kinds();

// By the "_class_name" of model_index.json; by the class of its transformer where it has none.
// kUnsupported names what was found and what is known.
Expected<const ModelKind*> find_model_kind(const JsonConfig& index);

// A model in a folder, as DiffusersModel::open reads it.
Expected<std::shared_ptr<const Model>> open_model(const ModelPaths& paths);
// Random weights in the sizes of a known model, floats, or with "+convrotG" behind the name int8
// rows turned in groups of G, as ComfyUI's ConvRot files hold them. kNotFound lists the names.
// `layers`: instead of as many as the model has, for benchmarks.
Expected<std::shared_ptr<const Model>> synthetic_model(std::string_view name,
                                                       std::optional<int64_t> layers = {});
std::vector<std::string_view> synthetic_model_names();

}  // namespace intaglio
