#include "io/tensor_file.h"

#include <algorithm>
#include <cstring>

#include "io/formats/ggml_blocks.h"
#include "io/printable.h"

namespace intaglio {

Expected<Tensor> read_tensor(const TensorEntry& entry) {
  if (entry.file == nullptr) return Tensor{entry.view, {}};
  INTAGLIO_ASSIGN(AlignedBuffer memory, AlignedBuffer::allocate(entry.view.size_bytes()));
  INTAGLIO_TRY(read_tensor_bytes(entry, 0, {memory.as<std::byte>(), memory.size()}));
  TensorView view = entry.view;
  view.data = memory.data();
  return Tensor{view, std::move(memory)};
}

Expected<std::vector<float>> read_floats(const TensorEntry& entry) {
  if (has_decoded_blocks(entry)) {
    std::vector<float> values(static_cast<size_t>(entry.shape().count()));
    INTAGLIO_TRY(read_block_floats(entry, 0, entry.shape().count(), values.data()));
    return values;
  }
  if (!is_float(entry.view.dtype)) {
    return make_error(ErrorCode::kBadFormat, "tensor \"{}\" is {}, expected floats",
                      printable(entry.name), dtype_name(entry.view.dtype));
  }
  INTAGLIO_ASSIGN(const Tensor tensor, read_tensor(entry));
  std::vector<float> values(static_cast<size_t>(entry.view.shape.count()));
  convert_to_f32(tensor.view.data, entry.view.dtype, values.data(), values.size());
  return values;
}

Status read_tensor_bytes(const TensorEntry& entry, uint64_t offset, std::span<std::byte> target) {
  if (entry.file != nullptr) return entry.file->read(entry.at + offset, target);
  if (!target.empty()) {
    std::memcpy(target.data(), static_cast<const std::byte*>(entry.view.data) + offset,
                target.size());
  }
  return {};
}

std::string_view container_name(Container container) {
  return container == Container::kGguf ? "GGUF" : "safetensors";
}

const TensorEntry* TensorFile::find(std::string_view name) const {
  const auto found = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorEntry& entry, std::string_view key) { return entry.name < key; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

}  // namespace intaglio
