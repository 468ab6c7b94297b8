// The safetensors format: 8-byte little-endian header length, JSON header, tensor bytes. Files are
// untrusted, and others may write to them while they are read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "core/status.h"
#include "io/tensor_file.h"

namespace intaglio {

struct SafetensorsHeader;

class SafetensorsFile : public TensorFile {
 public:
  SafetensorsFile() : TensorFile(Container::kSafetensors) {}
  // Errors: kIo (cannot open or read), kBadFormat (header, offsets, overlaps, sizes that do not
  // match, duplicate names), each naming the file and the tensor. As lenient as the published
  // reader: white space around the header, keys it does not know, any order, tensors without
  // elements, and types that neither knows.
  static Expected<std::shared_ptr<const SafetensorsFile>> open(const std::filesystem::path& path);
  // The same over bytes in memory, which must outlive the object; for tests and fuzzing. `name`
  // stands for the path in messages.
  static Expected<std::shared_ptr<const SafetensorsFile>> parse(std::span<const std::byte> bytes,
                                                                const std::string& name);

 private:
  static Expected<std::shared_ptr<const SafetensorsFile>> open_file(
      const std::filesystem::path& path);
  void take(SafetensorsHeader header, const std::byte* data);
};

// Writes atomically: temporary file beside the target, fsync, rename. Tensors are written in the
// order given, data 8-byte aligned.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace intaglio
