// The safetensors format: 8-byte little-endian header length, JSON header, tensor bytes. Files are
// untrusted, and others may write to them while they are read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/input_file.h"
#include "core/status.h"
#include "core/tensor.h"

namespace intaglio {

struct SafetensorsHeader;

struct TensorEntry {
  std::string name;
  // Of a tensor in memory; may be unaligned for its element type. Of one in a file without data:
  // read_tensor brings it.
  TensorView view;
  const InputFile* file = nullptr;  // lives as long as the SafetensorsFile
  uint64_t at = 0;                  // bytes from the file's begin
  // Of a tensor that this reader has no type for, or of more than kMaxRank dimensions: type and
  // shape in the file's words, e.g. "F6_E2M3 [4, 8]"; `view` is its bytes then. Nothing can use it,
  // and its being there harms nothing.
  std::string foreign = {};
};

// A tensor and the memory it lies in, if that is its own.
struct Tensor {
  TensorView view;
  AlignedBuffer memory;
};

// The tensor of an entry, read from its file; one in memory stays where it is. kIo if the file has
// changed since it was opened.
Expected<Tensor> read_tensor(const TensorEntry& entry);
// The same as floats; kBadFormat for a type that is none.
Expected<std::vector<float>> read_floats(const TensorEntry& entry);
// Bytes of it from `offset` on.
Status read_tensor_bytes(const TensorEntry& entry, uint64_t offset, std::span<std::byte> target);

// An open file. Entries live as long as this object.
class SafetensorsFile {
 public:
  // Errors: kIo (cannot open or read), kBadFormat (header, offsets, overlaps, sizes that do not
  // match, duplicate names), each naming the file and the tensor. As lenient as the published
  // reader: white space around the header, keys it does not know, any order, tensors without
  // elements, and types that neither knows.
  static Expected<std::shared_ptr<const SafetensorsFile>> open(const std::filesystem::path& path);
  // The same over bytes in memory, which must outlive the object; for tests and fuzzing. `name`
  // stands for the path in messages.
  static Expected<std::shared_ptr<const SafetensorsFile>> parse(std::span<const std::byte> bytes,
                                                                const std::string& name);

  const std::filesystem::path& path() const { return path_; }
  std::span<const TensorEntry> tensors() const { return tensors_; }  // sorted by name
  const TensorEntry* find(std::string_view name) const;              // nullptr if absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  static Expected<std::shared_ptr<const SafetensorsFile>> open_file(
      const std::filesystem::path& path);
  void take(SafetensorsHeader header, const std::byte* data);

  std::filesystem::path path_;
  std::shared_ptr<const InputFile> input_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes atomically: temporary file beside the target, fsync, rename. Tensors are written in the
// order given, data 8-byte aligned.
Status write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace intaglio
