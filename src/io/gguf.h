// GGUF files, the containers of llama.cpp and of those who took them over for diffusion models:
//
//   "GGUF", u32 version (2 or 3), u64 number of tensors, u64 number of keys
//   a key:    text name, u32 type, value. Types: u8 i8 u16 i16 u32 i32 f32 bool text array u64 i64
//             f64; a text is u64 length and bytes, an array u32 type, u64 count and the values
//   a tensor: text name, u32 dimensions, u64 sizes with that of a row's elements first, u32 type
//             (io/formats/ggml_blocks.h), u64 offset from the begin of the data
//   the data, itself and each tensor of it at a multiple of general.alignment (32)
//
// All of it little-endian. Files are untrusted, and others may write to them while they are read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/status.h"
#include "io/tensor_file.h"

namespace intaglio {

// Shapes are as everywhere here, the outermost size first. A tensor that was reshaped to fit the
// format has the shape under "comfy.gguf.orig_shape.<name>". `metadata` has texts and single
// numbers, not arrays.
class GgufFile : public TensorFile {
 public:
  GgufFile() : TensorFile(Container::kGguf) {}
  // Errors: kIo (cannot open or read), kBadFormat (counts that the file has no room for, types,
  // sizes, offsets, overlaps, names that are no UTF-8 or appear twice), each naming the file and
  // the key or tensor.
  static Expected<std::shared_ptr<const GgufFile>> open(const std::filesystem::path& path);
  // The same over bytes in memory, which must outlive the object; for tests and fuzzing. `name`
  // stands for the path in messages.
  static Expected<std::shared_ptr<const GgufFile>> parse(std::span<const std::byte> bytes,
                                                         const std::string& name);

 private:
  friend class GgufParser;
};

}  // namespace intaglio
