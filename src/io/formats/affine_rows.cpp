#include "io/formats/affine_rows.h"

#include <algorithm>

namespace intaglio {
namespace {

// Elements of a tensor of I8, U8 or floats.
Status read_some_numbers(const TensorEntry& entry, int64_t first, int64_t count, float* out) {
  const DType dtype = entry.view.dtype;
  if (dtype != DType::kI8 && dtype != DType::kU8) return read_some_floats(entry, first, count, out);
  std::vector<std::byte> bytes;
  INTAGLIO_TRY(read_some_bytes(entry, first, count, bytes));
  for (const std::byte byte : bytes) {
    const auto value = static_cast<uint8_t>(byte);
    *out++ = dtype == DType::kU8 ? static_cast<float>(value)
                                 : static_cast<float>(static_cast<int8_t>(value));
  }
  return {};
}

class AffineRows : public LinearDecoder {
 public:
  explicit AffineRows(const AffineBlocks& blocks) : b_(blocks) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    INTAGLIO_TRY(read_some_numbers(*b_.values, begin * b_.k, (end - begin) * b_.k, out));
    const int64_t row_height = b_.n / b_.rows, width = b_.k / b_.groups;
    const int64_t first = begin / row_height, last = (end - 1) / row_height;
    const int64_t count = (last - first + 1) * b_.groups;
    std::vector<float> scales(static_cast<size_t>(count)), zeros(scales.size());
    INTAGLIO_TRY(read_some_floats(*b_.scales, first * b_.groups, count, scales.data()));
    if (b_.zeros != nullptr)
      INTAGLIO_TRY(read_some_numbers(*b_.zeros, first * b_.groups, count, zeros.data()));
    std::vector<float> columns(static_cast<size_t>(b_.columns == nullptr ? 0 : b_.k));
    if (b_.columns != nullptr) INTAGLIO_TRY(read_some_floats(*b_.columns, 0, b_.k, columns.data()));
    for (int64_t r = begin; r < end; ++r, out += b_.k) {
      for (int64_t g = 0; g < b_.groups; ++g) {
        const auto block = static_cast<size_t>((r / row_height - first) * b_.groups + g);
        scale_block(scales[block], zeros[block], width, out + g * width);
      }
      for (size_t c = 0; c < columns.size(); ++c) out[c] *= columns[c];
    }
    return {};
  }

 private:
  void scale_block(float scale, float zero, int64_t width, float* out) const {
    if (b_.zero_is_added) {
      for (int64_t c = 0; c < width; ++c) out[c] = out[c] * scale + zero;
    } else {
      for (int64_t c = 0; c < width; ++c) out[c] = (out[c] - zero) * scale;
    }
  }

  AffineBlocks b_;
};

}  // namespace

std::shared_ptr<const LinearDecoder> make_affine_rows(const AffineBlocks& blocks) {
  return std::make_shared<AffineRows>(blocks);
}

Expected<bool> are_zero(const TensorEntry* zeros) {
  if (zeros == nullptr) return true;
  INTAGLIO_ASSIGN(const Tensor tensor, read_tensor(*zeros));
  const auto* const values = tensor.view.as<int8_t>();
  return std::all_of(values, values + tensor.view.shape.count(), [](int8_t z) { return z == 0; });
}

LinearEntry int8_rows_linear(const Layer& layer, const TensorEntry& values,
                             const TensorEntry& scales) {
  return {.name = layer.name(),
          .encoding = Encoding::kInt8Rows,
          .n = values.view.shape[0],
          .k = values.view.shape[1],
          .values = &values,
          .scales = &scales};
}

}  // namespace intaglio
