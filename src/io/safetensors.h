// The safetensors format: 8-byte little-endian header length, JSON header, tensor bytes. Files are untrusted and memory-mapped.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace intaglio {

struct TensorEntry {
  std::string name;
  TensorView view;  // into the mapping; may be unaligned for its element type
};

// An open file. Entries point into the mapping and live as long as this object.
class SafetensorsFile {
 public:
  // Errors: kIo (cannot open or map), kBadFormat (header, offsets, overlaps, sizes that do not match, more than kMaxRank dimensions,
  // unknown types, duplicate names), each naming the file and the tensor.
  static Expected<std::shared_ptr<const SafetensorsFile>> open(const std::filesystem::path& path);
  // The same over bytes in memory, which must outlive the object; for tests and fuzzing. `name` stands for the path in messages.
  static Expected<std::shared_ptr<const SafetensorsFile>> parse(std::span<const std::byte> bytes,
                                                                const std::string& name);

  const std::filesystem::path& path() const { return path_; }
  std::span<const TensorEntry> tensors() const { return tensors_; }  // sorted by name
  const TensorEntry* find(std::string_view name) const;              // nullptr if absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::filesystem::path path_;
  std::shared_ptr<const void> mapping_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes atomically: temporary file beside the target, fsync, rename. Tensors are written in the order given, data 8-byte aligned.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace intaglio
