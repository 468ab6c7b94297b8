#include "quant/stored_linear.h"

#include <cstddef>

namespace intaglio {

StoredLinear StoredLinear::rows(int64_t first, int64_t count) const {
  const auto part = [&](TensorView view, int64_t row_elements) {
    if (view.data == nullptr) return view;
    view.data =
        view.as<std::byte>() + static_cast<size_t>(first * row_elements) * dtype_size(view.dtype);
    view.shape.dims[0] = count;
    return view;
  };
  StoredLinear result = *this;
  result.values = part(values, k());
  result.scales = part(scales, 1);
  if (reader == nullptr) return result;
  result.values.shape.dims[0] = count;
  result.first_row = first_row + first;
  return result;
}

Expected<StoredLinear> StoredLinear::read(int64_t first, int64_t count,
                                          AlignedBuffer& memory) const {
  StoredLinear result = rows(first, count);
  if (reader == nullptr) return result;
  INTAGLIO_ASSIGN(memory, AlignedBuffer::allocate(result.values.size_bytes()));
  INTAGLIO_TRY(reader->rows(result.first_row, count, memory.as<std::byte>()));
  result.values.data = memory.data();
  result.reader = nullptr;
  return result;
}

void dequantize_row(const StoredLinear& linear, int64_t row, float* out) {
  const int64_t k = linear.k();
  if (linear.encoding == Encoding::kFloat) {
    const auto columns = static_cast<size_t>(k);
    const size_t row_bytes = columns * dtype_size(linear.values.dtype);
    convert_to_f32(linear.values.as<std::byte>() + static_cast<size_t>(row) * row_bytes,
                   linear.values.dtype, out, columns);
    if (linear.scales.data == nullptr) return;
    const float scale = linear.scales.as<float>()[row];
    for (size_t c = 0; c < columns; ++c) out[c] *= scale;
    return;
  }
  const int8_t* const q = linear.values.as<int8_t>() + row * k;
  const float scale = linear.scales.as<float>()[row];
  for (int64_t c = 0; c < k; ++c) out[c] = static_cast<float>(q[c]) * scale;
  if (linear.rotation.kind == RotationKind::kConvRot) rotate_row(out, k, linear.rotation.group);
  if (linear.smooth.data != nullptr) smooth_row(out, linear.smooth.as<float>(), k, out);
}

}  // namespace intaglio
