#include "models/checkpoint_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/formats/sdnq_config.h"
#include "io/printable.h"
#include "models/parts/selection.h"
#include "models/parts/weights.h"
#include "quant/int8_rows.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";

// As ComfyUI writes it.
nlohmann::ordered_json descriptor_json(const Rotation& rotation, bool float_product) {
  nlohmann::ordered_json json{{"format", "int8_tensorwise"}};
  if (rotation.kind == RotationKind::kConvRot) {
    json["convrot"] = true;
    json["convrot_groupsize"] = rotation.group;
  }
  if (float_product) json["full_precision_matrix_mult"] = true;
  return json;
}

// Python's separators, as the published writers have them.
std::string spaced(const nlohmann::ordered_json& json) {
  std::string text;
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("{}\"{}\": {}", text.empty() ? "{" : ", ", key, value.dump());
  }
  return text + "}";
}

Shape with_rows(Shape shape, int64_t rows) {
  shape.dims[0] = rows;
  return shape;
}

TensorEntry entry_of(std::string name, DType dtype, const Shape& shape) {
  return {.name = std::move(name), .view = {nullptr, dtype, shape}};
}

}  // namespace

std::vector<CheckpointQuantizer::Canonical> CheckpointQuantizer::canonical(
    std::string_view module) const {
  std::vector<Canonical> found;
  for (const ModuleAlias& alias : modules_.aliases) {
    // The stored end of one model may be the whole of another's own name.
    std::optional<std::string> name = with_other_end(module, alias.stored, alias.module);
    if (name) found.push_back({std::move(*name), alias.part, alias.parts, std::string(alias.leaf)});
  }
  if (found.empty()) found.push_back({std::string(module)});
  return found;
}

CheckpointQuantizer::Canonical CheckpointQuantizer::target(const std::string& module) const {
  if (modules_.part == "text_encoder") {
    constexpr std::string_view kText = "language_model.";
    const std::string name = modules_.prefix + module;
    return {layout_ == CheckpointLayout::kComfy && name.starts_with(kText) ? "model." + name
                                                                           : name};
  }
  for (const ModuleAlias& alias : modules_.aliases) {
    if (layout_ == CheckpointLayout::kDiffusers && !alias.published) continue;
    std::optional<std::string> name = with_other_end(module, alias.module, alias.stored);
    if (name) return {std::move(*name), alias.part, alias.parts, std::string(alias.leaf)};
  }
  return {module};
}

Expected<CheckpointQuantizer> CheckpointQuantizer::plan(
    std::shared_ptr<const Checkpoint> checkpoint, const QuantizeOptions& options) {
  CheckpointQuantizer q;
  q.layout_ = options.layout;
  q.smoothing_ = options.smoothing;
  q.inputs_ = options.inputs;
  INTAGLIO_ASSIGN(q.stored_, StoredWeights::open(checkpoint));
  q.checkpoint_ = std::move(checkpoint);
  INTAGLIO_ASSIGN(q.modules_, find_part_modules(q.stored_->tensors()));
  INTAGLIO_TRY(q.plan_linears(options));
  INTAGLIO_TRY(q.check_keep(options));
  INTAGLIO_TRY(q.plan_others());
  INTAGLIO_TRY(q.match_adapters(options));
  q.list_outputs();
  q.cut_shards(options.max_shard);
  return q;
}

// Forms that pad their weights do not say by how much: taken where nothing is padded, in the sizes
// that the model is known in.
Status CheckpointQuantizer::check_padding(const LinearEntry& entry) const {
  if (entry.padding == 1) return {};
  const std::vector<Canonical> own = canonical(entry.name);
  const auto known =
      modules_.sizes.find(without_numbers(own.front().module + std::string(kWeight)));
  const Shape found{entry.n / own.front().parts, entry.k};
  if (known != modules_.sizes.end() && known->second == found) return {};
  return make_error(
      ErrorCode::kUnsupported,
      "{}: {}: found a weight {} in a form that pads to multiples of {}, expected the "
      "{} of {}: without the model's config its own size is not known",
      stored_->tensors().path(), printable(entry.name), to_string(found), entry.padding,
      known == modules_.sizes.end() ? "weight" : to_string(known->second), modules_.model);
}

Status CheckpointQuantizer::plan_linears(const QuantizeOptions& options) {
  // By the new file's name: the pieces by their place in it, and all names of the module.
  struct Target {
    std::map<int, Piece> pieces;
    std::vector<std::string> names;
    int parts = 1;
  };
  std::map<std::string, Target> targets;
  for (const auto& [module, entry] : stored_->linears()) {
    INTAGLIO_TRY(check_padding(entry));
    for (const Canonical& own : canonical(module)) {
      if (entry.n % own.parts != 0) {
        return make_error(ErrorCode::kBadFormat,
                          "{}: {}.weight: {} rows, expected a multiple of {}",
                          stored_->tensors().path(), printable(module), entry.n, own.parts);
      }
      const int64_t rows = entry.n / own.parts;
      const Canonical to = target(own.module);
      Target& one = targets[to.module];
      one.parts = to.parts;
      one.pieces[to.part] = {module, own.part * rows, rows, own.module};
      for (const std::string& name : {module, own.module, to.module}) one.names.push_back(name);
    }
  }
  for (auto& [name, one] : targets) {
    Linear linear{.name = name, .pieces = {}};
    const LinearEntry* first = nullptr;
    for (const auto& [part, piece] : one.pieces) {
      const LinearEntry* const entry = stored_->find_linear(piece.module);
      if (first == nullptr) first = entry;
      if (entry->k != first->k) {
        return make_error(ErrorCode::kBadFormat, "{}: {}.weight has {} columns, {}.weight {}",
                          stored_->tensors().path(), printable(piece.module), entry->k,
                          printable(first->name), first->k);
      }
      linear.pieces.push_back(piece);
      linear.n += piece.count;
      linear.float_product |= entry->float_product;
    }
    if (static_cast<int>(one.pieces.size()) != one.parts) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: {} of its {} parts are there",
                        stored_->tensors().path(), printable(name), one.pieces.size(), one.parts);
    }
    linear.k = first->k;
    INTAGLIO_TRY(finish_linear(linear, std::move(one.names), options));
    linears_.push_back(std::move(linear));
  }
  return {};
}

// Whether it is quantized, and what its file's type is.
Status CheckpointQuantizer::finish_linear(Linear& linear, std::vector<std::string> names,
                                          const QuantizeOptions& options) {
  const bool is_meant = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return modules_.quantized.contains(without_numbers(name));
  });
  const bool is_kept = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::any_of(options.keep.begin(), options.keep.end(),
                       [&](const std::string& pattern) { return name_matches(pattern, name); });
  });
  if (is_meant) linear_names_.insert(names.begin(), names.end());
  // SDNQ's rows cannot say that they are to be multiplied as floats.
  const bool says_how = layout_ == CheckpointLayout::kComfy || !linear.float_product;
  linear.quantized = is_meant && !is_kept && says_how;
  // What was stored in fewer bits has none more to lose than bf16 takes.
  const auto type_of = [&](const Piece& piece) {
    const LinearEntry& entry = *stored_->find_linear(piece.module);
    return entry.is_quantized() ? DType::kBF16 : entry.values->view.dtype;
  };
  linear.floats = type_of(linear.pieces.front());
  for (const Piece& piece : linear.pieces)
    if (type_of(piece) != linear.floats) linear.floats = DType::kF32;
  if (!linear.quantized) return {};
  if (options.scheme == QuantizeScheme::kConvRot)
    linear.rotation = largest_rotation(linear.k, options.group);
  if (layout_ == CheckpointLayout::kComfy)
    linear.descriptor = spaced(descriptor_json(linear.rotation, linear.float_product));
  return {};
}

std::map<std::string, uint64_t> CheckpointQuantizer::quantized() const {
  std::map<std::string, uint64_t> growth;
  for (const Linear& linear : linears_) {
    if (!linear.quantized) continue;
    const auto more = dtype_size(linear.floats) - 1;
    for (const Piece& piece : linear.pieces)
      growth[piece.own] = more * static_cast<uint64_t>(piece.count * linear.k);
  }
  return growth;
}

std::string CheckpointQuantizer::quantization_config() const {
  if (layout_ == CheckpointLayout::kComfy) return {};
  std::vector<SdnqLinear> linears;
  for (const Linear& linear : linears_)
    linears.push_back({linear.name, linear.k, linear.quantized, linear.rotation.group});
  return sdnq_config_text(linears);
}

uint64_t CheckpointQuantizer::bytes() const {
  uint64_t bytes = 0;
  for (const TensorEntry& entry : entries_) bytes += entry.view.size_bytes();
  return bytes;
}

// Of a linear or a vector; empty: ones.
std::span<const float> CheckpointQuantizer::factors(FoldedSmoothing::Values FoldedSmoothing::*kind,
                                                    const std::string& name) const {
  if (smoothing_ == nullptr) return {};
  const FoldedSmoothing::Values& values = smoothing_.get()->*kind;
  const auto found = values.find(name);
  return found == values.end() ? std::span<const float>() : std::span(found->second);
}

Status CheckpointQuantizer::check_keep(const QuantizeOptions& options) const {
  for (const std::string& pattern : options.keep) {
    if (std::any_of(linear_names_.begin(), linear_names_.end(),
                    [&](const std::string& name) { return name_matches(pattern, name); }))
      continue;
    return make_error(
        ErrorCode::kInvalidArgument,
        "keep: \"{}\" matches none of the {} linears that would be quantized, e.g. {}",
        printable(pattern), linears_.size(),
        linear_names_.empty() ? "none" : printable(*linear_names_.begin()));
  }
  return {};
}

// Its weight, or what a format puts beside or in place of it.
bool CheckpointQuantizer::is_output_of_linear(std::string_view name) const {
  for (size_t dot = name.rfind('.'); dot != std::string_view::npos && dot > 0;
       dot = name.rfind('.', dot - 1)) {
    if (stored_->find_linear(name.substr(0, dot)) == nullptr) continue;
    const std::string_view leaf = name.substr(dot + 1);
    if (leaf == "weight") return true;
    static const std::vector<std::string_view> parts = linear_parts();
    return leaf.starts_with("weight.") ||
           std::find(parts.begin(), parts.end(), leaf) != parts.end();
  }
  return false;
}

// One that is flat in a file has the first dimension of the sizes that the model is known in.
std::optional<CheckpointQuantizer::Lone> CheckpointQuantizer::lone(const std::string& name,
                                                                   const TensorEntry& entry) const {
  for (const ModuleAlias& alias : modules_.aliases) {
    const std::optional<std::string> own = with_other_end(name, alias.stored, alias.module);
    const std::optional<std::string> stored = with_other_end(name, alias.module, alias.stored);
    if (!own && !stored) continue;
    const std::string& of_model = own ? *own : name;
    const int64_t count = entry.view.shape.count();
    Lone lone{of_model,
              layout_ == CheckpointLayout::kDiffusers ? of_model
              : own                                   ? name
                                                      : *stored,
              entry.view.shape};
    const auto known = modules_.sizes.find(without_numbers(of_model));
    if (!alias.flat || known == modules_.sizes.end()) return lone;
    const int64_t rows = known->second[0];
    lone.shape = layout_ == CheckpointLayout::kDiffusers && count % rows == 0
                     ? Shape{rows, count / rows}
                     : Shape{count};
    return lone;
  }
  return std::nullopt;
}

Status CheckpointQuantizer::plan_others() {
  struct Target {
    std::map<int, Other::Part> parts;
    int count = 1;
    std::optional<Shape> shape = {};  // another than the tensor's
  };
  std::map<std::string, Target> targets;
  const std::vector<std::string_view> markers = checkpoint_markers();
  for (const auto& [name, entry] : stored_->tensors().tensors()) {
    const bool is_marker = std::find(markers.begin(), markers.end(), name) != markers.end();
    if (is_marker || !entry->foreign.empty() || is_output_of_linear(name)) continue;
    if (const std::optional<Lone> alone = lone(name, *entry)) {
      Target& one = targets[alone->target];
      one.parts[0] = {entry, 0, 0, alone->own};
      one.shape = alone->shape;
      continue;
    }
    const size_t dot = name.rfind('.');
    const std::string module = dot == std::string::npos ? name : name.substr(0, dot);
    const std::string leaf = dot == std::string::npos ? "" : name.substr(dot);
    for (const Canonical& own : canonical(module)) {
      const int64_t rows = entry->view.shape.rank > 0 ? entry->view.shape[0] : 0;
      if (own.parts > 1 && (rows == 0 || rows % own.parts != 0)) {
        return make_error(ErrorCode::kBadFormat, "{}: {}: found {}, expected rows in thirds",
                          stored_->tensors().path(), printable(name), type_and_shape(*entry));
      }
      const Canonical to = target(own.module);
      const std::string own_leaf = leaf == "." + own.leaf ? std::string(kWeight) : leaf;
      const bool renamed = own_leaf == kWeight && !to.leaf.empty();
      Target& one = targets[to.module + (renamed ? "." + to.leaf : own_leaf)];
      one.count = to.parts;
      const int64_t count = own.parts > 1 || to.parts > 1 ? rows / own.parts : 0;
      one.parts[to.part] = {entry, own.part * count, count, own.module + own_leaf};
    }
  }
  for (auto& [name, one] : targets) {
    Other other{.name = name, .parts = {}, .dtype = DType::kF32, .shape = {}};
    const TensorEntry& first = *one.parts.begin()->second.entry;
    int64_t rows = 0;
    for (const auto& [at, part] : one.parts) {
      if (part.entry->view.dtype != first.view.dtype) {
        return make_error(ErrorCode::kBadFormat, "{}: {} is {}, {} is {}",
                          stored_->tensors().path(), printable(part.entry->name),
                          type_and_shape(*part.entry), printable(first.name),
                          type_and_shape(first));
      }
      other.parts.push_back(part);
      rows += part.count;
    }
    if (static_cast<int>(one.parts.size()) != one.count) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: {} of its {} parts are there",
                        stored_->tensors().path(), printable(name), one.parts.size(), one.count);
    }
    const bool is_fp8 = is_read_as_floats(first) && !is_weight_float(first);
    other.dtype = is_fp8 ? DType::kF32 : first.view.dtype;
    other.shape = rows > 0 ? with_rows(first.view.shape, rows) : first.view.shape;
    if (one.shape) other.shape = *one.shape;
    others_.push_back(std::move(other));
  }
  return {};
}

// Shapes are the checkpoint's own: it comes without a config.
Status CheckpointQuantizer::match_adapters(const QuantizeOptions& options) {
  if (options.adapters.empty()) return {};
  if (modules_.part != "transformer") {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: adapters are merged into transformers, found a text encoder",
                      stored_->tensors().path());
  }
  if (is_smoothed(*checkpoint_)) {
    return make_error(
        ErrorCode::kUnsupported,
        "{}: its linears were smoothed: their inputs are others than those an adapter "
        "was made for",
        stored_->tensors().path());
  }
  adapters_ = Adapters(options.adapters, options.adapter_part, modules_.aliases, LowRank::kMerged);
  std::vector<AdapterUse> uses = options.adapters;
  for (AdapterUse& use : uses) use.strength = 1.0f;
  AdapterMatch match(Adapters(uses, options.adapter_part, modules_.aliases, LowRank::kMerged));
  std::set<std::string> vectors;
  for (const Other& other : others_)
    for (const Other::Part& part : other.parts) vectors.insert(part.own);
  for (const Linear& linear : linears_) {
    for (const Piece& piece : linear.pieces) {
      const bool has_bias = vectors.contains(piece.own + ".bias");
      INTAGLIO_TRY(match.linear(piece.own, Shape{piece.count, linear.k}, has_bias));
    }
  }
  for (const Other& other : others_) {
    for (const Other::Part& part : other.parts) {
      const Shape shape = vector_shape(other, part);
      if (shape.rank == 1 && !part.own.ends_with(".bias"))
        INTAGLIO_TRY(match.vector(part.own, shape));
    }
  }
  matched_ = match.tensors();
  for (const AdapterUse& use : options.adapters) {
    if (use.strength == 0.0f) continue;
    std::error_code ignored;
    const std::filesystem::path path = std::filesystem::absolute(use.file->path(), ignored);
    adapters_text_ += fmt::format(
        "{}:{}\n{}\n{}\n", path.string(), use.strength, std::filesystem::file_size(path, ignored),
        std::filesystem::last_write_time(path, ignored).time_since_epoch().count());
    std::string& names = metadata_[std::string(kAdaptersKey)];
    names += fmt::format("{}{}:{}", names.empty() ? "" : ", ", path.stem().string(), use.strength);
  }
  return {};
}

// What an adapter's difference of a vector is of: leading sizes of 1 left out. Rank 0: no vector.
Shape CheckpointQuantizer::vector_shape(const Other& other, const Other::Part& part) {
  const Shape& whole = part.entry->view.shape;
  const bool is_vector =
      is_float(other.dtype) && whole.rank > 0 && whole.count() == whole[whole.rank - 1];
  if (!is_vector) return {};
  return Shape{part.count > 0 ? part.count : whole[whole.rank - 1]};
}

void CheckpointQuantizer::add_output(Role role, size_t index, TensorEntry entry) {
  outputs_.push_back({role, index});
  entries_.push_back(std::move(entry));
}

// Descriptors, whose lengths are odd, come last: what stands before them is aligned as well as it
// can be.
void CheckpointQuantizer::list_outputs() {
  for (size_t i = 0; i < linears_.size(); ++i) {
    const Linear& linear = linears_[i];
    const std::string name = linear.name + std::string(kWeight);
    const Shape shape{linear.n, linear.k};
    add_output(Role::kWeight, i,
               entry_of(name, linear.quantized ? DType::kI8 : linear.floats, shape));
    if (!linear.quantized) continue;
    const bool is_comfy = layout_ == CheckpointLayout::kComfy;
    const std::string scale = is_comfy ? name + "_scale" : linear.name + ".scale";
    add_output(Role::kScales, i, entry_of(scale, DType::kF32, Shape{linear.n, 1}));
  }
  for (size_t i = 0; i < others_.size(); ++i)
    add_output(Role::kOther, i, entry_of(others_[i].name, others_[i].dtype, others_[i].shape));
  for (size_t i = 0; i < linears_.size(); ++i) {
    if (linears_[i].descriptor.empty()) continue;
    const auto length = static_cast<int64_t>(linears_[i].descriptor.size());
    add_output(Role::kDescriptor, i,
               entry_of(linears_[i].name + ".comfy_quant", DType::kU8, Shape{length}));
  }
  metadata_["format"] = "pt";
  metadata_["quantized_by"] = "intaglio";
  const bool smooths = smoothing_ != nullptr && !smoothing_->empty();
  if (smooths || is_smoothed(*checkpoint_)) metadata_.emplace(kSmoothedKey, "true");
  std::string layers = layers_text(0, outputs_.size());
  if (!layers.empty()) metadata_.emplace(kLayersKey, std::move(layers));
}

// Of the quantized weights among the outputs [begin, end), as ComfyUI writes it; empty: none.
std::string CheckpointQuantizer::layers_text(size_t begin, size_t end) const {
  std::string layers;
  for (size_t i = begin; i < end; ++i) {
    const Linear* const linear =
        outputs_[i].role == Role::kScales ? &linears_[outputs_[i].index] : nullptr;
    if (linear == nullptr || linear->descriptor.empty()) continue;
    layers += fmt::format("{}{}: {}", layers.empty() ? "" : ", ",
                          nlohmann::json(linear->name).dump(), linear->descriptor);
  }
  if (layers.empty()) return {};
  return fmt::format("{{\"format_version\": \"1.0\", \"layers\": {{{}}}}}", layers);
}

// Scales stay with their weight.
void CheckpointQuantizer::cut_shards(uint64_t most) {
  shards_ = {0};
  uint64_t bytes = 0;
  for (size_t i = 0; i < outputs_.size() && most > 0; ++i) {
    const uint64_t own = entries_[i].view.size_bytes();
    const bool is_pair = i + 1 < outputs_.size() && outputs_[i + 1].role == Role::kScales;
    const uint64_t with_scales = own + (is_pair ? entries_[i + 1].view.size_bytes() : 0);
    if (outputs_[i].role != Role::kScales && bytes > 0 && bytes + with_scales > most) {
      shards_.push_back(i);
      bytes = 0;
    }
    bytes += own;
  }
  shards_.push_back(outputs_.size());
}

}  // namespace intaglio
