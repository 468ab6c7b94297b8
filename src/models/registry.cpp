#include "models/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/printable.h"
#include "models/flux2_klein/model.h"
#include "models/ideogram4/model.h"
#include "models/krea2/model.h"
#include "models/qwen_image/model.h"
#include "models/z_image/model.h"

namespace intaglio {
namespace {

template <typename M>
std::unique_ptr<DiffusersModel> make() {
  return std::make_unique<M>();
}

std::string class_of_transformer(const JsonConfig& index) {
  if (!index.contains("transformer")) return {};
  const nlohmann::json& pair = index.json().at("transformer");
  const bool is_pair = pair.is_array() && pair.size() == 2 && pair.at(1).is_string();
  return is_pair ? pair.at(1).get<std::string>() : std::string();
}

}  // namespace

std::span<const ModelKind> model_kinds() {
  static const std::vector<ModelKind> kinds{
      {"Ideogram4Pipeline",
       "Ideogram4Transformer2DModel",
       {"ideogram4", "ideogram4-instant", "mini"},
       make<ideogram4::Model>},
      {"ZImagePipeline",
       "ZImageTransformer2DModel",
       {"z-image", "z-image-turbo"},
       make<z_image::Model>},
      {"Flux2KleinPipeline",
       "Flux2Transformer2DModel",
       {"flux2-klein-4b", "flux2-klein-base-4b", "flux2-klein-9b", "flux2-klein-base-9b"},
       make<flux2_klein::Model>},
      {"Krea2Pipeline",
       "Krea2Transformer2DModel",
       {"krea2-raw", "krea2-turbo"},
       make<krea2::Model>},
      {"QwenImagePipeline", "QwenImageTransformer2DModel", {"qwen-image"}, make<qwen_image::Model>},
  };
  return kinds;
}

Expected<const ModelKind*> find_model_kind(const JsonConfig& index) {
  INTAGLIO_ASSIGN(const std::string name, index.string_or("_class_name", ""));
  const std::string transformer = class_of_transformer(index);
  std::vector<std::string_view> known;
  for (const ModelKind& kind : model_kinds()) {
    if (name.empty() ? kind.transformer_class == transformer : kind.class_name == name)
      return &kind;
    known.push_back(kind.class_name);
  }
  return make_error(ErrorCode::kUnsupported, "{}_class_name: found {}, supported is {}",
                    index.where(), name.empty() ? "none" : printable(name, 60),
                    fmt::join(known, " or "));
}

Expected<std::shared_ptr<const Model>> open_model(const ModelPaths& paths) {
  INTAGLIO_ASSIGN(JsonConfig index, JsonConfig::open(paths.folder / "model_index.json"));
  INTAGLIO_ASSIGN(const ModelKind* const kind, find_model_kind(index));
  std::unique_ptr<DiffusersModel> model = kind->make();
  INTAGLIO_TRY(model->open(paths, std::move(index)));
  return std::shared_ptr<const Model>(std::move(model));
}

namespace {

// "NAME" or "NAME+convrotG": sizes, and how their linears are stored.
struct SyntheticName {
  std::string_view sizes;
  Rotation rotation;
};

Expected<SyntheticName> parse_synthetic_name(std::string_view name) {
  constexpr std::string_view kConvRot = "+convrot";
  const size_t plus = name.find('+');
  if (plus == std::string_view::npos) return SyntheticName{name, {}};
  const std::string_view suffix = name.substr(plus);
  for (const int64_t group : kRotationGroups) {
    if (suffix == fmt::format("{}{}", kConvRot, group))
      return SyntheticName{name.substr(0, plus), Rotation::convrot(group)};
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "synthetic:{}: found \"{}\" behind the sizes, expected +convrot and one of {}",
                    name, suffix, fmt::join(kRotationGroups, ", "));
}

}  // namespace

Expected<std::shared_ptr<const Model>> synthetic_model(std::string_view name,
                                                       std::optional<int64_t> layers) {
  INTAGLIO_ASSIGN(const SyntheticName parsed, parse_synthetic_name(name));
  for (const ModelKind& kind : model_kinds()) {
    if (std::find(kind.sizes.begin(), kind.sizes.end(), parsed.sizes) == kind.sizes.end()) continue;
    std::unique_ptr<DiffusersModel> model = kind.make();
    INTAGLIO_TRY(model->use_sizes(parsed.sizes, layers, parsed.rotation));
    return std::shared_ptr<const Model>(std::move(model));
  }
  return make_error(ErrorCode::kNotFound, "synthetic:{}: no such sizes; known are {}", name,
                    fmt::join(synthetic_model_names(), ", "));
}

std::vector<std::string_view> synthetic_model_names() {
  std::vector<std::string_view> names;
  for (const ModelKind& kind : model_kinds())
    names.insert(names.end(), kind.sizes.begin(), kind.sizes.end());
  return names;
}

}  // namespace intaglio
