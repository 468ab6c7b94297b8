// The tensors of a checkpoint under the names a model knows them by, and the texts of its headers:
// what the readers of formats look at.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/tensor_file.h"

namespace intaglio {

// `name` without the prefix that ComfyUI's checkpoints put before a diffusion model's names
// ("model.diffusion_model.", "diffusion_model.").
std::string_view without_model_prefix(std::string_view name);

class TensorSet {
 public:
  // kBadFormat if two names differ in their prefix alone. `path`: for messages. `quantization`: as
  // Checkpoint's. Entries and files outlive the set.
  static Expected<TensorSet> of(std::string path, std::span<const TensorEntry* const> tensors,
                                std::span<const TensorFile* const> files,
                                std::string quantization = {});

  const std::string& path() const { return path_; }
  // By name without the prefix, sorted.
  const std::map<std::string, const TensorEntry*, std::less<>>& tensors() const { return tensors_; }
  const TensorEntry* find(std::string_view name) const;  // nullptr if absent
  // What lies beside the weights of how they were quantized, a JSON object; empty: nothing.
  const std::string& quantization() const { return quantization_; }
  bool is_gguf() const;
  // The text under `key` in the header of each file that has one.
  std::vector<std::string_view> metadata(std::string_view key) const;

 private:
  std::string path_;
  std::map<std::string, const TensorEntry*, std::less<>> tensors_;
  std::vector<const TensorFile*> files_;
  std::string quantization_;
};

// Type and shape for messages: "I8 [6, 32]".
std::string type_and_shape(const TensorEntry& entry);
bool has_type(const TensorEntry& entry, DType dtype);
// F32, F16 or BF16.
bool is_weight_float(const TensorEntry& entry);
// F32, F16, BF16, F8_E4M3, F8_E5M2 or decoded blocks: what biases, norms and tables may be.
bool is_read_as_floats(const TensorEntry& entry);

}  // namespace intaglio
