#include "models/part_modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "io/printable.h"
#include "models/registry.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";

// A tensor under all its names.
using TensorNames = std::vector<std::vector<std::string>>;

// "blocks.3.mlp.0.weight" -> "blocks.*.mlp.0.weight": numbers that aliases do not tell apart, as
// they have modules of their own below them.
std::string without_layer(std::string_view name) {
  const size_t leaf = std::min(name.rfind('.'), name.size());
  const size_t last = std::min(name.substr(0, leaf).rfind('.'), leaf);
  return without_numbers(name.substr(0, last)) + std::string(name.substr(last));
}

// A tensor of every layer once: its names are many, and a model's layers up to 60.
void add_names(const TensorShapes& shapes, std::span<const ModuleAlias> aliases, TensorNames& all) {
  std::set<std::string> seen;
  for (const auto& [name, shape] : shapes) {
    if (!seen.insert(without_layer(name)).second) continue;
    std::vector<std::string> names;
    for (const std::string& stored : stored_names(name, aliases))
      names.push_back(without_numbers(stored));
    if (std::find(all.begin(), all.end(), names) == all.end()) all.push_back(std::move(names));
  }
}

bool has_all(const std::set<std::string>& found, const TensorNames& needed) {
  return std::all_of(needed.begin(), needed.end(), [&](const auto& names) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return found.contains(name); });
  });
}

// How many tensors have their size in a model: what tells models of the same names.
size_t count_same(const TensorSet& tensors, const TensorShapes& shapes,
                  std::span<const ModuleAlias> aliases) {
  return static_cast<size_t>(std::count_if(shapes.begin(), shapes.end(), [&](const auto& one) {
    const std::vector<std::string> names = stored_names(one.first, aliases);
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      const TensorEntry* const entry = tensors.find(name);
      return entry != nullptr && entry->shape() == one.second;
    });
  }));
}

void take_sizes(const TensorShapes& shapes, PartModules& part) {
  for (const auto& [name, shape] : shapes) part.sizes.emplace(without_numbers(name), shape);
}

// All projections of the layers.
void take_text_linears(const TensorShapes& shapes, PartModules& part) {
  for (const auto& [name, shape] : shapes) {
    if (name.ends_with("_proj.weight") && shape.rank == 2)
      part.quantized.insert(without_numbers(name.substr(0, name.size() - kWeight.size())));
  }
}

// By the architecture: the language model of one that sees has its place in it.
std::string llama_cpp_prefix(const TensorSet& tensors) {
  const std::vector<std::string_view> names = tensors.metadata("general.architecture");
  return !names.empty() && names.front() == "qwen3" ? "model." : "language_model.";
}

}  // namespace

std::string without_numbers(std::string_view name) {
  std::string result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view item = name.substr(begin, end - begin);
    const bool is_number =
        !item.empty() && item.find_first_not_of("0123456789") == std::string_view::npos;
    if (begin > 0) result += '.';
    result += is_number ? "*" : item;
    begin = end + 1;
  }
  return result;
}

namespace {

// The one of those offered that has most in common with a checkpoint, the first of equals.
class BestPart {
 public:
  void offer(PartModules part, size_t same) {
    if (part_ && same <= most_) return;
    part_ = std::move(part);
    most_ = same;
  }
  std::optional<PartModules>& part() { return part_; }

 private:
  std::optional<PartModules> part_;
  size_t most_ = 0;
};

// What of `model` the tensors, whose names without numbers are `found`, may be.
void offer_transformers(const TensorSet& tensors, const std::set<std::string>& found,
                        std::string_view name, const Model& model, BestPart& best) {
  for (int which = 0; which < model.transformers(); ++which) {
    const std::unique_ptr<Transformer> transformer = model.transformer(which, {});
    const TensorShapes shapes = transformer->tensor_shapes();
    TensorNames needed;
    add_names(shapes, transformer->aliases(), needed);
    if (!has_all(found, needed)) continue;
    PartModules part{.part = "transformer",
                     .model = std::string(name),
                     .quantized = {},
                     .sizes = {},
                     .aliases = transformer->aliases()};
    take_sizes(shapes, part);
    for (const std::string& linear : transformer->quantized_linears())
      part.quantized.insert(without_numbers(linear));
    best.offer(std::move(part), count_same(tensors, shapes, transformer->aliases()));
  }
}

void offer_text_encoders(const TensorSet& tensors, const std::set<std::string>& found,
                         std::string_view name, const Model& model, BestPart& best) {
  for (const char* const prefix : qwen3::kWeightPrefixes) {
    const TensorShapes shapes = qwen3::text_encoder_tensor_shapes(model.text_config(), prefix);
    TensorNames published, needed;
    add_names(shapes, {}, published);
    add_names(shapes, qwen3::weight_aliases(), needed);
    if (!has_all(found, needed)) continue;
    PartModules part{.part = "text_encoder",
                     .model = std::string(name),
                     .quantized = {},
                     .sizes = {},
                     .aliases = {}};
    if (!has_all(found, published)) {
      part.aliases = qwen3::weight_aliases();
      part.prefix = llama_cpp_prefix(tensors);
    }
    take_sizes(shapes, part);
    take_text_linears(shapes, part);
    best.offer(std::move(part), count_same(tensors, shapes, qwen3::weight_aliases()));
  }
}

}  // namespace

Expected<PartModules> find_part_modules(const TensorSet& tensors) {
  std::set<std::string> found;
  for (const auto& [name, entry] : tensors.tensors()) found.insert(without_numbers(name));
  for (const ModelKind& kind : model_kinds()) {
    BestPart best;
    for (const std::string_view name : kind.sizes) {
      INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model, synthetic_model(name));
      offer_transformers(tensors, found, name, *model, best);
      offer_text_encoders(tensors, found, name, *model, best);
    }
    if (best.part()) return std::move(*best.part());
  }
  std::string some;
  int shown = 0;
  for (const std::string& name : found) {
    if (++shown > 5) break;
    some += fmt::format("{}{}", some.empty() ? "" : ", ", printable(name, 80));
  }
  return make_error(ErrorCode::kUnsupported,
                    "{}: neither a transformer nor a text encoder of a model known here; it has {}",
                    tensors.path(), found.empty() ? "no tensor" : some);
}

}  // namespace intaglio
