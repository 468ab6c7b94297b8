// The weights of one part of a model (a folder of the diffusers layout): one safetensors or GGUF
// file, or shards with an index.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/safetensors.h"
#include "io/tensor_file.h"

namespace intaglio {

// The files of a part: its config and its weights, which may lie apart.
struct PartFiles {
  std::filesystem::path config;   // config.json
  std::filesystem::path weights;  // what Checkpoint::open takes

  // Both in one folder.
  static PartFiles in(const std::filesystem::path& folder) {
    return {folder / "config.json", folder};
  }
};

// One file of tensors: GGUF if its name ends so, else safetensors.
Expected<std::shared_ptr<const TensorFile>> open_tensor_file(const std::filesystem::path& path);

class Checkpoint {
 public:
  // `path`: a safetensors or GGUF file, the index of shards, or a folder. In a folder:
  // "<stem>.safetensors" or "<stem>.safetensors.index.json" with its shards, for the first stem
  // that exists of "diffusion_pytorch_model" and "model"; else the only file that is GGUF or has a
  // variant in its name ("<stem>.fp16.safetensors", "<stem>.safetensors.index.fp16.json"); else
  // kNotFound says what lies there. kBadFormat for another kind of file. Shard names must stay
  // inside the folder. A tensor of the index missing from its shard is an error.
  static Expected<std::shared_ptr<const Checkpoint>> open(const std::filesystem::path& path);

  // The file, or the index of the shards.
  const std::filesystem::path& path() const { return path_; }
  const std::vector<std::shared_ptr<const TensorFile>>& files() const { return files_; }
  const TensorEntry* find(std::string_view name) const;  // nullptr if absent
  std::vector<const TensorEntry*> tensors() const;       // sorted by name
  // The name of the file that holds a tensor of this checkpoint.
  std::string file_of(const TensorEntry& tensor) const;
  // How the weights were quantized, where files beside them say it: "quantization_config.json", or
  // what stands under that key in "config.json". A JSON object, or empty.
  const std::string& quantization() const { return quantization_; }
  // xxh3-64 of names, types, shapes and data, and of the quantization; the identity of the weights.
  // `cancel` may be null; once it is set the call returns kCancelled soon.
  Expected<uint64_t> hash(const std::atomic<bool>* cancel = nullptr) const;

 private:
  std::filesystem::path path_;
  std::string quantization_;
  std::vector<std::shared_ptr<const TensorFile>> files_;
  std::map<std::string, const TensorEntry*, std::less<>> tensors_;
};

// The names in a folder, for a message: "a.bin, b.json", at most ten, and links to nothing marked;
// "nothing" for an empty folder.
std::string folder_contents(const std::filesystem::path& folder);

}  // namespace intaglio
