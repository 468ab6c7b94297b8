#include "io/formats/quanto.h"

#include "io/formats/affine_rows.h"

namespace intaglio {
namespace {

constexpr std::string_view kData = "weight._data";

Expected<LinearEntry> quanto_linear(const Layer& layer) {
  INTAGLIO_ASSIGN(const TensorEntry* const data, layer.get(kData));
  if (!has_type(*data, DType::kI8)) {
    return make_error(ErrorCode::kUnsupported, "{}: found {}, supported is I8 [n, k] (qint8)",
                      layer.where(kData), type_and_shape(*data));
  }
  INTAGLIO_TRY(layer.check_matrix(*data));
  INTAGLIO_TRY(layer.refuse_other_parts(kQuantoParts, "a qint8 weight"));
  INTAGLIO_ASSIGN(const TensorEntry* const scales,
                  layer.get("weight._scale", kWeightFloats,
                            {Shape{}, Shape{1}, Shape{data->view.shape[0], 1}}));
  return int8_rows_linear(layer, *data, *scales);
}

}  // namespace

Refusal quanto_refusal(const TensorSet& tensors) {
  return layers_with(tensors, kData).empty() ? "no weight._data of quanto" : nullptr;
}

Expected<std::vector<LinearEntry>> quanto_linears(const TensorSet& tensors) {
  return linears_of(tensors, layers_with(tensors, kData), quanto_linear);
}

}  // namespace intaglio
