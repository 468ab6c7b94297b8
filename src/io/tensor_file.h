// Tensors in files, whatever the container: names, types and shapes in memory, numbers read when
// they are asked for. Files are untrusted, and others may write to them while they are read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/input_file.h"
#include "core/status.h"
#include "core/tensor.h"

namespace intaglio {

struct GgmlType;

// What a tensor of ggml's blocks is (io/formats/ggml_blocks.h): `shape` is that of its numbers.
struct GgmlBlocks {
  const GgmlType* type = nullptr;
  Shape shape;
};

struct TensorEntry {
  std::string name;
  // Of a tensor in memory; may be unaligned for its element type. Of one in a file without data:
  // read_tensor brings it.
  TensorView view;
  const InputFile* file = nullptr;  // lives as long as the TensorFile
  uint64_t at = 0;                  // bytes from the file's begin
  // Of a tensor that this reader has no type for, or of more than kMaxRank dimensions: type and
  // shape in the file's words, e.g. "F6_E2M3 [4, 8]"; `view` is its bytes then. Nothing can use it,
  // unless it has `blocks`, and its being there harms nothing.
  std::string foreign = {};
  // Of a GGUF file's quantized tensor: what its bytes are.
  std::optional<GgmlBlocks> blocks = {};

  // Of its numbers.
  const Shape& shape() const { return blocks ? blocks->shape : view.shape; }
};

// A tensor and the memory it lies in, if that is its own.
struct Tensor {
  TensorView view;
  AlignedBuffer memory;
};

// The tensor of an entry, read from its file; one in memory stays where it is. kIo if the file has
// changed since it was opened.
Expected<Tensor> read_tensor(const TensorEntry& entry);
// The same as floats, decoded if it has blocks; kBadFormat for a type that is none.
Expected<std::vector<float>> read_floats(const TensorEntry& entry);
// Bytes of it from `offset` on.
Status read_tensor_bytes(const TensorEntry& entry, uint64_t offset, std::span<std::byte> target);

enum class Container { kSafetensors, kGguf };

// "safetensors", "GGUF".
std::string_view container_name(Container container);

// An open file of tensors. Entries live as long as this object.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  Container container() const { return container_; }
  const std::filesystem::path& path() const { return path_; }
  std::span<const TensorEntry> tensors() const { return tensors_; }  // sorted by name
  const TensorEntry* find(std::string_view name) const;              // nullptr if absent
  // What the header says beside the tensors.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 protected:
  explicit TensorFile(Container container) : container_(container) {}

  Container container_;
  std::filesystem::path path_;
  std::shared_ptr<const InputFile> input_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace intaglio
