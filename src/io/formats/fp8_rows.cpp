#include "io/formats/fp8_rows.h"

#include "io/formats/fp8.h"

namespace intaglio {
namespace {

class Fp8Rows : public LinearDecoder {
 public:
  Fp8Rows(const TensorEntry& weight, const TensorEntry* scale) : weight_(weight), scale_(scale) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t k = weight_.view.shape[1], count = end - begin;
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(weight_, begin * k, count * k, bytes));
    convert_bytes(bytes, values_of_fp8(weight_.view.dtype), out);
    if (scale_ == nullptr) return {};
    std::vector<float> scales(static_cast<size_t>(count));
    if (scale_->view.shape.count() == 1) {
      INTAGLIO_TRY(read_some_floats(*scale_, 0, 1, scales.data()));
      scales.assign(scales.size(), scales.front());
    } else {
      INTAGLIO_TRY(read_some_floats(*scale_, begin, count, scales.data()));
    }
    for (const float scale : scales)
      for (const float* const row = out + k; out != row; ++out) *out *= scale;
    return {};
  }

 private:
  const TensorEntry& weight_;
  const TensorEntry* scale_;
};

// nullptr: none. kBadFormat for two, or for another type or shape.
Expected<const TensorEntry*> scale_of(const Layer& layer, int64_t n) {
  const bool is_old = layer.find("scale_weight") != nullptr;
  if (is_old && layer.find("weight_scale") != nullptr) {
    return make_error(ErrorCode::kBadFormat, "{}: scale_weight is there too",
                      layer.where("weight_scale"));
  }
  return layer.find(is_old ? "scale_weight" : "weight_scale", kWeightFloats,
                    {Shape{}, Shape{1}, Shape{n}, Shape{n, 1}});
}

}  // namespace

std::shared_ptr<const LinearDecoder> make_fp8_rows(const TensorEntry& weight,
                                                   const TensorEntry* scale) {
  return std::make_shared<Fp8Rows>(weight, scale);
}

Expected<LinearEntry> fp8_linear(const Layer& layer, std::span<const std::string_view> known) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(known, "an fp8 weight"));
  const Shape& shape = weight->view.shape;
  INTAGLIO_ASSIGN(const TensorEntry* const scale, scale_of(layer, shape[0]));
  return LinearEntry{.name = layer.name(),
                     .n = shape[0],
                     .k = shape[1],
                     .values = weight,
                     .decoder = make_fp8_rows(*weight, scale)};
}

bool is_fp8_tensor(const TensorEntry& entry) {
  return entry.foreign.empty() && is_fp8(entry.view.dtype);
}

}  // namespace intaglio
