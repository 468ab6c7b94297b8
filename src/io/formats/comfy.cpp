#include "io/formats/comfy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "io/formats/comfy_forms.h"
#include "io/formats/fp8_rows.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kDescriptor = ".comfy_quant";
constexpr const char* kHeaderKey = "_quantization_metadata";
constexpr std::string_view kMarker = kComfyMarkers[0];
// Notes of programs that turn the columns in a way of their own.
constexpr const char* kOtherRotation = "activation_rotation";
constexpr int64_t kDefaultGroup = 256;
constexpr int64_t kMaxGroup = std::numeric_limits<int32_t>::max();

constexpr ConfigKey kParamsKeys[] = {{"convrot"}, {"convrot_groupsize"}};

Expected<const ComfyForm*> form_of(const JsonConfig& config) {
  INTAGLIO_ASSIGN(const std::string format, config.string_or("format", ""));
  if (format.empty()) {
    if (config.contains("convrot") || config.contains("per_row"))
      return find_comfy_form("int8_tensorwise");
    return make_error(ErrorCode::kBadFormat,
                      "{}format: missing, expected \"int8_tensorwise\" (or convrot, or per_row)",
                      config.where());
  }
  if (const ComfyForm* const form = find_comfy_form(format)) return form;
  std::vector<std::string_view> supported;
  for (const ComfyForm& form : comfy_forms()) supported.push_back(form.format);
  return make_error(ErrorCode::kUnsupported, "{}format: found \"{}\", supported is \"{}\"",
                    config.where(), printable(format), fmt::join(supported, "\", \""));
}

Status refuse_unknown_keys(const JsonConfig& config, std::span<const ConfigKey> table) {
  const KeyedConfig keyed{config, table};
  const UnknownKeys unknown = unknown_config_keys({&keyed, 1});
  if (unknown.arithmetic.empty()) return {};
  return make_error(ErrorCode::kUnsupported,
                    "{}{}: not known, and may change what the numbers mean", config.where(),
                    printable(fmt::format("{}", fmt::join(unknown.arithmetic, ", "))));
}

// The two objects that may hold the keys of ConvRot.
struct RotationKeys {
  JsonConfig config, params;

  const JsonConfig& of(std::string_view key) const {
    return params.contains(key) ? params : config;
  }
};

// kBadFormat if "params" contradicts the object around it. Without "params" both are `config`.
Expected<RotationKeys> rotation_keys(const JsonConfig& config) {
  if (!config.contains("params")) return RotationKeys{config, config};
  INTAGLIO_ASSIGN(const JsonConfig params, config.object("params"));
  INTAGLIO_TRY(refuse_unknown_keys(params, kParamsKeys));
  for (const ConfigKey& key : kParamsKeys) {
    if (config.contains(key.name) && params.contains(key.name) &&
        config.json().at(key.name) != params.json().at(key.name)) {
      return make_error(ErrorCode::kBadFormat, "{}{}: another value than in params", config.where(),
                        key.name);
    }
  }
  return RotationKeys{config, params};
}

Expected<Rotation> read_rotation(const JsonConfig& config, ComfyTurn turn) {
  if (turn == ComfyTurn::kNever) return Rotation{};
  INTAGLIO_ASSIGN(const RotationKeys keys, rotation_keys(config));
  const JsonConfig& sized = keys.of("convrot_groupsize");
  if (turn == ComfyTurn::kAlwaysSaid && !sized.contains("convrot_groupsize"))
    return make_error(ErrorCode::kBadFormat, "{}convrot_groupsize: missing", config.where());
  bool turned = true;
  if (turn == ComfyTurn::kIfSaid) {
    INTAGLIO_ASSIGN(turned, keys.of("convrot").boolean_or("convrot", false));
  }
  INTAGLIO_ASSIGN(const int64_t group,
                  sized.integer_or("convrot_groupsize", kDefaultGroup, 1, kMaxGroup));
  return turned ? Rotation::convrot(group) : Rotation{};
}

Expected<ComfyDescriptor> read_descriptor(const JsonConfig& config) {
  ComfyDescriptor result;
  INTAGLIO_ASSIGN(result.form, form_of(config));
  INTAGLIO_TRY(refuse_unknown_keys(config, result.form->keys));
  INTAGLIO_ASSIGN(result.float_product, config.boolean_or("full_precision_matrix_mult", false));
  INTAGLIO_TRY(config.boolean_or("per_row", false));
  INTAGLIO_ASSIGN(result.rotation, read_rotation(config, result.form->turn));
  INTAGLIO_ASSIGN(result.group_size, config.integer_or("group_size", 0, 1, kMaxGroup));
  return result;
}

using Descriptors = std::map<std::string, ComfyDescriptor, std::less<>>;

Status add_tensor(const TensorSet& tensors, std::string_view layer, const TensorEntry& entry,
                  Descriptors& descriptors) {
  INTAGLIO_ASSIGN(const std::string text, read_descriptor_text(tensors, entry));
  INTAGLIO_ASSIGN(
      const ComfyDescriptor descriptor,
      parse_comfy_descriptor(text, fmt::format("{}: {}", tensors.path(), printable(entry.name))));
  descriptors.emplace(layer, descriptor);
  return {};
}

// Of `value`, an object, or the name of a format alone.
Expected<ComfyDescriptor> header_descriptor(const JsonConfig& layers, const std::string& layer,
                                            const nlohmann::json& value) {
  if (value.is_string()) {
    return parse_comfy_descriptor(nlohmann::json{{"format", value}}.dump(),
                                  layers.where() + printable(layer));
  }
  INTAGLIO_ASSIGN(const JsonConfig config, layers.object(layer));
  return read_descriptor(config);
}

Status add_header(const TensorSet& tensors, std::string_view text, Descriptors& descriptors) {
  INTAGLIO_ASSIGN(const JsonConfig header,
                  JsonConfig::parse(text, fmt::format("{}: {}", tensors.path(), kHeaderKey)));
  INTAGLIO_ASSIGN(const JsonConfig layers, header.object("layers"));
  for (const auto& [layer, value] : layers.json().items()) {
    INTAGLIO_ASSIGN(const ComfyDescriptor descriptor, header_descriptor(layers, layer, value));
    const auto [place, is_new] = descriptors.emplace(without_model_prefix(layer), descriptor);
    if (!is_new && place->second != descriptor) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: {} says otherwise than {}{}",
                        tensors.path(), kHeaderKey, printable(layer), printable(place->first),
                        kDescriptor);
    }
  }
  return {};
}

Expected<Descriptors> read_descriptors(const TensorSet& tensors) {
  Descriptors descriptors;
  for (const auto& [name, entry] : tensors.tensors()) {
    if (!name.ends_with(kDescriptor)) continue;
    const std::string_view layer(name.data(), name.size() - kDescriptor.size());
    INTAGLIO_TRY(add_tensor(tensors, layer, *entry, descriptors));
  }
  for (const std::string_view text : tensors.metadata(kHeaderKey))
    INTAGLIO_TRY(add_header(tensors, text, descriptors));
  for (const auto& [layer, descriptor] : descriptors) {
    const TensorEntry* const weight = tensors.find(layer + std::string(kWeight));
    if (weight != nullptr && descriptor.form->is_weight(*weight)) continue;
    return make_error(ErrorCode::kBadFormat, "{}: {}{}: {}, expected {}: it is described as {}",
                      tensors.path(), printable(layer), kWeight,
                      weight == nullptr ? "missing" : "found " + type_and_shape(*weight),
                      descriptor.form->expected, descriptor.form->format);
  }
  return descriptors;
}

// Of a layer that nothing describes, by its weight's type; none for floats.
std::optional<ComfyDescriptor> undescribed(const TensorEntry& weight, bool float_product) {
  if (has_type(weight, DType::kI8)) return ComfyDescriptor{find_comfy_form("int8_tensorwise"), {}};
  // All else of fp8 is read as a tensor, like floats.
  if (!is_fp8_tensor(weight) || weight.view.shape.rank != 2) return std::nullopt;
  const bool is_e4m3 = has_type(weight, DType::kF8E4M3);
  ComfyDescriptor descriptor{find_comfy_form(is_e4m3 ? "float8_e4m3fn" : "float8_e5m2"), {}};
  descriptor.float_product = float_product;
  return descriptor;
}

}  // namespace

Expected<ComfyDescriptor> parse_comfy_descriptor(std::string_view json, const std::string& where) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::parse(json, where));
  return read_descriptor(config);
}

Refusal comfy_refusal(const TensorSet& tensors) {
  if (!tensors.metadata(kHeaderKey).empty() || tensors.find(kMarker) != nullptr) return nullptr;
  const bool here =
      std::any_of(tensors.tensors().begin(), tensors.tensors().end(), [](const auto& item) {
        const auto& [name, entry] = item;
        return name.ends_with(kDescriptor) ||
               (name.ends_with(kWeight) && has_type(*entry, DType::kI8));
      });
  return here ? nullptr : "no I8 weight, and no descriptor or marker of ComfyUI";
}

Expected<std::vector<LinearEntry>> comfy_linears(const TensorSet& tensors) {
  if (!tensors.metadata(kOtherRotation).empty()) {
    return make_error(ErrorCode::kUnsupported, "{}: {} in the header: a rotation not known here",
                      tensors.path(), kOtherRotation);
  }
  INTAGLIO_ASSIGN(const Descriptors descriptors, read_descriptors(tensors));
  const TensorEntry* const marker = tensors.find(kMarker);
  const bool float_product = marker != nullptr && marker->view.shape == Shape{2};
  std::vector<LinearEntry> linears = float_linears(tensors);
  for (const Layer& layer : layers_with(tensors, "weight")) {
    const auto found = descriptors.find(layer.name());
    const std::optional<ComfyDescriptor> descriptor =
        found != descriptors.end() ? found->second
                                   : undescribed(*layer.find("weight"), float_product);
    if (!descriptor) continue;
    INTAGLIO_ASSIGN(LinearEntry linear, descriptor->form->linear(layer, *descriptor));
    linears.push_back(std::move(linear));
  }
  return linears;
}

}  // namespace intaglio
