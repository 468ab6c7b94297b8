#include "io/formats/comfy_int8.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "io/config_keys.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kDescriptor = ".comfy_quant";
constexpr const char* kHeaderKey = "_quantization_metadata";
// Notes of programs that turn the columns in a way of their own.
constexpr const char* kOtherRotation = "activation_rotation";
// Descriptors have some 120 bytes.
constexpr size_t kMaxDescriptorBytes = size_t{1} << 16;
constexpr int64_t kDefaultGroup = 256;

constexpr std::array<ConfigKey, 6> kKeys{{{"format"},
                                          {"convrot"},
                                          {"convrot_groupsize"},
                                          {"per_row"},
                                          {"full_precision_matrix_mult"},
                                          {"params"}}};
constexpr std::array<ConfigKey, 2> kParamsKeys{{{"convrot"}, {"convrot_groupsize"}}};

Status check_format(const JsonConfig& config) {
  INTAGLIO_ASSIGN(const std::string format, config.string_or("format", ""));
  if (format == "int8_tensorwise" || format == "int8") return {};
  if (!format.empty()) {
    return make_error(ErrorCode::kUnsupported,
                      "{}format: found \"{}\", supported is \"int8_tensorwise\"", config.where(),
                      printable(format));
  }
  if (config.contains("convrot") || config.contains("per_row")) return {};
  return make_error(ErrorCode::kBadFormat,
                    "{}format: missing, expected \"int8_tensorwise\" (or convrot, or per_row)",
                    config.where());
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

Expected<ComfyInt8> read_descriptor(const JsonConfig& config) {
  INTAGLIO_TRY(check_format(config));
  INTAGLIO_TRY(refuse_unknown_keys(config, kKeys));
  ComfyInt8 result;
  INTAGLIO_ASSIGN(result.float_product, config.boolean_or("full_precision_matrix_mult", false));
  INTAGLIO_TRY(config.boolean_or("per_row", false));
  INTAGLIO_ASSIGN(const RotationKeys keys, rotation_keys(config));
  INTAGLIO_ASSIGN(const bool convrot, keys.of("convrot").boolean_or("convrot", false));
  INTAGLIO_ASSIGN(const int64_t group, keys.of("convrot_groupsize")
                                           .integer_or("convrot_groupsize", kDefaultGroup, 1,
                                                       std::numeric_limits<int32_t>::max()));
  if (convrot) result.rotation = Rotation::convrot(group);
  return result;
}

using Descriptors = std::map<std::string, ComfyInt8, std::less<>>;

Status add_tensor(const TensorSet& tensors, std::string_view layer, const TensorEntry& entry,
                  Descriptors& descriptors) {
  const std::string where = fmt::format("{}: {}", tensors.path(), printable(entry.name));
  if (!has_type(entry, DType::kU8) || entry.view.shape.rank != 1 ||
      entry.view.size_bytes() > kMaxDescriptorBytes) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: found {}, expected JSON as U8 of at most {} elements", where,
                      type_and_shape(entry), kMaxDescriptorBytes);
  }
  std::string text(entry.view.size_bytes(), '\0');
  INTAGLIO_TRY(read_tensor_bytes(entry, 0, std::as_writable_bytes(std::span(text))));
  INTAGLIO_ASSIGN(const ComfyInt8 descriptor, parse_comfy_int8(text, where));
  descriptors.emplace(layer, descriptor);
  return {};
}

// Of `value`, an object, or the name of a format alone.
Expected<ComfyInt8> header_descriptor(const JsonConfig& layers, const std::string& layer,
                                      const nlohmann::json& value) {
  if (value.is_string()) {
    return parse_comfy_int8(nlohmann::json{{"format", value}}.dump(),
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
    INTAGLIO_ASSIGN(const ComfyInt8 descriptor, header_descriptor(layers, layer, value));
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
    if (weight != nullptr && has_type(*weight, DType::kI8)) continue;
    return make_error(ErrorCode::kBadFormat,
                      "{}: {}{}: {}, expected I8 [n, k]: it is described as int8", tensors.path(),
                      printable(layer), kWeight,
                      weight == nullptr ? "missing" : "found " + type_and_shape(*weight));
  }
  return descriptors;
}

Status refuse_unknown_parts(const TensorSet& tensors, const std::string& layer) {
  const std::string begin = layer + ".";
  for (auto at = tensors.tensors().lower_bound(begin);
       at != tensors.tensors().end() && at->first.starts_with(begin); ++at) {
    const std::string_view part = std::string_view(at->first).substr(begin.size());
    if (part.find('.') != std::string_view::npos || part == "weight" || part == "bias" ||
        std::find(std::begin(kComfyInt8Parts), std::end(kComfyInt8Parts), part) !=
            std::end(kComfyInt8Parts))
      continue;
    return make_error(ErrorCode::kUnsupported,
                      "{}: {}: not known beside an int8 weight, and may change what it means",
                      tensors.path(), printable(at->first));
  }
  return {};
}

// F32 of one element or of n. kBadFormat for anything else, or for none or two.
Expected<const TensorEntry*> scales_of(const TensorSet& tensors, const std::string& layer,
                                       int64_t n) {
  const TensorEntry* const scale = tensors.find(layer + ".weight_scale");
  const TensorEntry* const old = tensors.find(layer + ".scale_weight");
  if ((scale == nullptr) == (old == nullptr)) {
    return make_error(ErrorCode::kBadFormat, "{}: {}.weight_scale: {}, the weight is I8",
                      tensors.path(), printable(layer),
                      scale == nullptr ? "missing" : "scale_weight is there too");
  }
  const TensorEntry* const found = scale != nullptr ? scale : old;
  const Shape& shape = found->view.shape;
  const bool fits =
      shape == Shape{} || shape == Shape{1} || shape == Shape{n} || shape == Shape{n, 1};
  if (has_type(*found, DType::kF32) && fits) return found;
  return make_error(ErrorCode::kBadFormat,
                    "{}: {}: found {}, expected F32 [], [1], [{}] or [{}, 1]", tensors.path(),
                    printable(found->name), type_and_shape(*found), n, n);
}

Expected<LinearEntry> int8_linear(const TensorSet& tensors, const std::string& layer,
                                  const TensorEntry& weight, const ComfyInt8& descriptor) {
  const Shape& shape = weight.view.shape;
  if (shape.rank != 2 || shape.count() == 0) {
    return make_error(ErrorCode::kUnsupported,
                      "{}: {}: found {}, expected I8 [n, k] with n and k above 0", tensors.path(),
                      printable(weight.name), type_and_shape(weight));
  }
  INTAGLIO_TRY(refuse_unknown_parts(tensors, layer));
  INTAGLIO_ASSIGN(const TensorEntry* const scales, scales_of(tensors, layer, shape[0]));
  if (const char* reason = rotation_refusal(shape[1], descriptor.rotation)) {
    return make_error(ErrorCode::kBadFormat, "{}: {}: convrot_groupsize {} of a weight {}: {}",
                      tensors.path(), printable(layer), descriptor.rotation.group, to_string(shape),
                      reason);
  }
  return LinearEntry{.name = layer,
                     .encoding = Encoding::kInt8Rows,
                     .n = shape[0],
                     .k = shape[1],
                     .values = &weight,
                     .scales = scales,
                     .rotation = descriptor.rotation,
                     .float_product = descriptor.float_product};
}

}  // namespace

Expected<ComfyInt8> parse_comfy_int8(std::string_view json, const std::string& where) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::parse(json, where));
  return read_descriptor(config);
}

Refusal comfy_int8_refusal(const TensorSet& tensors) {
  if (!tensors.metadata(kHeaderKey).empty()) return nullptr;
  const bool here =
      std::any_of(tensors.tensors().begin(), tensors.tensors().end(), [](const auto& item) {
        const auto& [name, entry] = item;
        return name.ends_with(kDescriptor) ||
               (name.ends_with(kWeight) && has_type(*entry, DType::kI8));
      });
  return here ? nullptr : "no I8 weight and no descriptor of ComfyUI";
}

Expected<std::vector<LinearEntry>> comfy_int8_linears(const TensorSet& tensors) {
  if (!tensors.metadata(kOtherRotation).empty()) {
    return make_error(ErrorCode::kUnsupported, "{}: {} in the header: a rotation not known here",
                      tensors.path(), kOtherRotation);
  }
  INTAGLIO_ASSIGN(const Descriptors descriptors, read_descriptors(tensors));
  std::vector<LinearEntry> linears = float_linears(tensors);
  for (const auto& [name, entry] : tensors.tensors()) {
    if (!name.ends_with(kWeight) || !has_type(*entry, DType::kI8)) continue;
    const std::string layer = name.substr(0, name.size() - kWeight.size());
    const auto found = descriptors.find(layer);
    INTAGLIO_ASSIGN(LinearEntry linear,
                    int8_linear(tensors, layer, *entry,
                                found == descriptors.end() ? ComfyInt8{} : found->second));
    linears.push_back(std::move(linear));
  }
  return linears;
}

}  // namespace intaglio
