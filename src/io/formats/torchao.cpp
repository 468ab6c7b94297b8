#include "io/formats/torchao.h"

#include "io/formats/affine_rows.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kData = "_weight_qdata";
constexpr std::string_view kType = "Int8Tensor";

// kUnsupported unless the header says that the weight is one of int8 numbers.
Status check_type(const Layer& layer, const TensorEntry& data) {
  // The header's keys have the prefix that the names in the file have.
  const std::string key = std::string(data.name, 0, data.name.size() - kData.size()) + "weight";
  std::string found = "nothing";
  for (const std::string_view text : layer.tensors().metadata(key)) {
    INTAGLIO_ASSIGN(const JsonConfig note,
                    JsonConfig::parse(text, layer.where("weight in the header")));
    INTAGLIO_ASSIGN(found, note.string_or("_type", "nothing"));
    if (found == kType) return {};
  }
  return make_error(ErrorCode::kUnsupported, "{}: found {} in the header, supported is {}",
                    layer.where("weight"), printable(found), kType);
}

Expected<LinearEntry> torchao_linear(const Layer& layer) {
  INTAGLIO_ASSIGN(const TensorEntry* const data, layer.get(kData));
  INTAGLIO_TRY(check_type(layer, *data));
  if (!has_type(*data, DType::kI8)) {
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected I8 [n, k]", layer.where(kData),
                      type_and_shape(*data));
  }
  INTAGLIO_TRY(layer.check_matrix(*data));
  INTAGLIO_TRY(layer.refuse_other_parts(kTorchaoParts, "an int8 weight"));
  const int64_t n = data->view.shape[0], k = data->view.shape[1];
  INTAGLIO_ASSIGN(const TensorEntry* const scales, layer.get("_weight_scale"));
  const Shape& blocks = scales->view.shape;
  if (!is_weight_float(*scales) || blocks.rank != 2 || blocks.count() == 0 || n % blocks[0] != 0 ||
      k % blocks[1] != 0) {
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected floats of blocks of [{}, {}]",
                      layer.where("_weight_scale"), type_and_shape(*scales), n, k);
  }
  INTAGLIO_ASSIGN(const TensorEntry* const zeros,
                  layer.find("_weight_zero_point", {DType::kI8}, {blocks}));
  INTAGLIO_ASSIGN(const TensorEntry* const columns,
                  layer.find("_weight_act_pre_scale", kWeightFloats, {Shape{k}}));
  INTAGLIO_ASSIGN(const bool symmetric, are_zero(zeros));
  const bool is_rows = blocks[1] == 1 && (blocks[0] == n || blocks[0] == 1);
  LinearEntry linear = int8_rows_linear(layer, *data, *scales);
  if (symmetric && is_rows) {
    linear.input_scale = columns;
    return linear;
  }
  linear.encoding = Encoding::kFloat;
  linear.scales = nullptr;
  linear.decoder = make_affine_rows({.values = data,
                                     .n = n,
                                     .k = k,
                                     .scales = scales,
                                     .rows = blocks[0],
                                     .groups = blocks[1],
                                     .zeros = zeros,
                                     .columns = columns});
  return linear;
}

}  // namespace

Refusal torchao_refusal(const TensorSet& tensors) {
  return layers_with(tensors, kData).empty() ? "no _weight_qdata of torchao" : nullptr;
}

Expected<std::vector<LinearEntry>> torchao_linears(const TensorSet& tensors) {
  return linears_of(tensors, layers_with(tensors, kData), torchao_linear);
}

}  // namespace intaglio
