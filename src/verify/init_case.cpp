#include "verify/init_case.h"

namespace intaglio {
namespace {

Expected<std::vector<uint8_t>> read_bytes(const SafetensorsFile& file, const TensorEntry& entry,
                                          int rank) {
  const Shape& shape = entry.view.shape;
  if (entry.view.dtype != DType::kU8 || shape.rank != rank || (rank == 3 && shape[2] != 3))
    return make_error(ErrorCode::kBadFormat, "{}: '{}' is {} {}, expected U8 [height, width{}]",
                      file.path().string(), entry.name, dtype_name(entry.view.dtype),
                      to_string(shape), rank == 3 ? ", 3" : "");
  std::vector<uint8_t> bytes(static_cast<size_t>(shape.count()));
  INTAGLIO_TRY(read_tensor_bytes(entry, 0, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

}  // namespace

Expected<std::optional<InitPicture>> read_init_picture(const SafetensorsFile& file,
                                                       const JsonConfig& note) {
  const TensorEntry* const image = file.find("init_image");
  if (image == nullptr) return std::nullopt;
  InitPicture init;
  INTAGLIO_ASSIGN(init.image.pixels, read_bytes(file, *image, 3));
  init.image.height = image->view.shape[0];
  init.image.width = image->view.shape[1];
  INTAGLIO_ASSIGN(init.strength, note.number("strength"));
  if (const TensorEntry* const mask = file.find("mask")) {
    INTAGLIO_ASSIGN(init.mask, read_bytes(file, *mask, 2));
  }
  return init;
}

}  // namespace intaglio
