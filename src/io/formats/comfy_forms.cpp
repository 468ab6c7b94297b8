#include "io/formats/comfy_forms.h"

#include <array>

#include "io/formats/fp8_rows.h"
#include "io/printable.h"

namespace intaglio {
namespace {

bool is_i8(const TensorEntry& weight) { return has_type(weight, DType::kI8); }
bool is_u8(const TensorEntry& weight) { return has_type(weight, DType::kU8); }
bool is_e4m3(const TensorEntry& weight) { return has_type(weight, DType::kF8E4M3); }
bool is_e5m2(const TensorEntry& weight) { return has_type(weight, DType::kF8E5M2); }

constexpr std::array<ConfigKey, 6> kInt8Keys{{{"format"},
                                              {"convrot"},
                                              {"convrot_groupsize"},
                                              {"per_row"},
                                              {"full_precision_matrix_mult"},
                                              {"params"}}};
constexpr std::array<ConfigKey, 2> kPlainKeys{{{"format"}, {"full_precision_matrix_mult"}}};
constexpr std::array<ConfigKey, 3> kGroupKeys{
    {{"format"}, {"full_precision_matrix_mult"}, {"group_size"}}};
// The type its own activations are rounded to changes nothing of W.
constexpr std::array<ConfigKey, 4> kW4A4Keys{{{"format"},
                                              {"full_precision_matrix_mult"},
                                              {"convrot_groupsize"},
                                              {"linear_dtype", KeyRole::kHarmless}}};
constexpr std::array<ConfigKey, 4> kW4A8Keys{
    {{"format"}, {"full_precision_matrix_mult"}, {"convrot_groupsize"}, {"group_size"}}};

constexpr std::string_view kInt8Parts[] = {"comfy_quant", "weight_scale", "scale_weight",
                                           "input_scale", "scale_input"};

// F32 of one element or of n. kBadFormat for anything else, or for none or two.
Expected<const TensorEntry*> int8_scales(const Layer& layer, int64_t n) {
  const bool is_new = layer.find("weight_scale") != nullptr;
  const bool is_old = layer.find("scale_weight") != nullptr;
  if (is_new == is_old) {
    return make_error(ErrorCode::kBadFormat, "{}: {}, the weight is I8",
                      layer.where("weight_scale"),
                      is_new ? "scale_weight is there too" : "missing");
  }
  return layer.get(is_new ? "weight_scale" : "scale_weight", {DType::kF32},
                   {Shape{}, Shape{1}, Shape{n}, Shape{n, 1}});
}

}  // namespace

std::span<const ComfyForm> comfy_forms() {
  using enum ComfyTurn;
  static constexpr std::array forms{
      ComfyForm{"int8_tensorwise", is_i8, "I8 [n, k]", kInt8Keys, kIfSaid, comfy_int8_linear},
      ComfyForm{"float8_e4m3fn", is_e4m3, "F8_E4M3 [n, k]", kPlainKeys, kNever, comfy_fp8_linear},
      ComfyForm{"float8_e5m2", is_e5m2, "F8_E5M2 [n, k]", kPlainKeys, kNever, comfy_fp8_linear},
      ComfyForm{"convrot_w4a4", is_i8, "I8 [n, k/2]", kW4A4Keys, kAlways, comfy_w4a4_linear},
      ComfyForm{"asym_w4a8_int8", is_i8, "I8 [n, k/2]", kW4A8Keys, kAlwaysSaid, comfy_w4a8_linear},
      ComfyForm{"awq_w4a16", is_i8, "I8 [n, k/2]", kGroupKeys, kNever, comfy_awq_linear},
      ComfyForm{"mxfp8", is_e4m3, "F8_E4M3 [n, k]", kPlainKeys, kNever, comfy_mxfp8_linear},
      ComfyForm{"nvfp4", is_u8, "U8 [n, k/2]", kPlainKeys, kNever, comfy_nvfp4_linear}};
  return forms;
}

const ComfyForm* find_comfy_form(std::string_view format) {
  if (format == "int8") format = "int8_tensorwise";
  for (const ComfyForm& form : comfy_forms())
    if (form.format == format) return &form;
  return nullptr;
}

Status check_comfy_rotation(const Layer& layer, const Shape& shape, const Rotation& rotation) {
  const char* const reason = rotation_refusal(shape[1], rotation);
  if (reason == nullptr) return {};
  return make_error(ErrorCode::kBadFormat, "{}: convrot_groupsize {} of a weight {}: {}",
                    layer.where(), rotation.group, to_string(shape), reason);
}

Expected<LinearEntry> comfy_int8_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(kInt8Parts, "an int8 weight"));
  const Shape& shape = weight->view.shape;
  INTAGLIO_ASSIGN(const TensorEntry* const scales, int8_scales(layer, shape[0]));
  INTAGLIO_TRY(check_comfy_rotation(layer, shape, descriptor.rotation));
  return LinearEntry{.name = layer.name(),
                     .encoding = Encoding::kInt8Rows,
                     .n = shape[0],
                     .k = shape[1],
                     .values = weight,
                     .scales = scales,
                     .rotation = descriptor.rotation,
                     .float_product = descriptor.float_product};
}

Expected<LinearEntry> comfy_fp8_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(LinearEntry linear, fp8_linear(layer, kInt8Parts));
  linear.float_product = descriptor.float_product;
  return linear;
}

}  // namespace intaglio
