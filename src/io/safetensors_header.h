// The JSON header of a safetensors file, read without building a document, so that memory stays
// near the header's size.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace intaglio {

// The format's own limit.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

struct SafetensorsRecord {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::string foreign = {};  // as TensorEntry::foreign; dtype and shape are those of its bytes then
  uint64_t begin = 0,
           end = 0;  // bytes from the start of the data; end - begin is exactly shape x dtype
};

struct SafetensorsHeader {
  std::vector<SafetensorsRecord> records;  // sorted by name, names unique
  std::map<std::string, std::string> metadata;
};

// Parses and checks everything that does not need the file's size, and that the records tile [0,
// data_bytes) without hole or overlap. kBadFormat naming `file` and the tensor.
Expected<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                                     const std::string& file);

}  // namespace intaglio
