#include "io/formats/tensor_set.h"

#include <algorithm>
#include <utility>

#include "io/formats/ggml_blocks.h"
#include "io/printable.h"

namespace intaglio {

std::string_view without_model_prefix(std::string_view name) {
  for (const std::string_view prefix : {"model.diffusion_model.", "diffusion_model."})
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return name;
}

Expected<TensorSet> TensorSet::of(std::string path, std::span<const TensorEntry* const> tensors,
                                  std::span<const TensorFile* const> files,
                                  std::string quantization) {
  TensorSet set;
  set.quantization_ = std::move(quantization);
  set.path_ = std::move(path);
  set.files_.assign(files.begin(), files.end());
  for (const TensorEntry* entry : tensors) {
    const auto [place, is_new] = set.tensors_.emplace(without_model_prefix(entry->name), entry);
    if (is_new) continue;
    return make_error(ErrorCode::kBadFormat, "{}: {} and {} are one tensor's name", set.path_,
                      printable(place->second->name), printable(entry->name));
  }
  return set;
}

const TensorEntry* TensorSet::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

bool TensorSet::is_gguf() const {
  return std::any_of(files_.begin(), files_.end(),
                     [](const TensorFile* file) { return file->container() == Container::kGguf; });
}

std::vector<std::string_view> TensorSet::metadata(std::string_view key) const {
  std::vector<std::string_view> texts;
  for (const TensorFile* file : files_) {
    const auto found = file->metadata().find(std::string(key));
    if (found != file->metadata().end()) texts.push_back(found->second);
  }
  return texts;
}

std::string type_and_shape(const TensorEntry& entry) {
  if (!entry.foreign.empty()) return entry.foreign;
  return fmt::format("{} {}", dtype_name(entry.view.dtype), to_string(entry.view.shape));
}

bool has_type(const TensorEntry& entry, DType dtype) {
  return entry.foreign.empty() && entry.view.dtype == dtype;
}

bool is_weight_float(const TensorEntry& entry) {
  return has_type(entry, DType::kF32) || has_type(entry, DType::kF16) ||
         has_type(entry, DType::kBF16);
}

bool is_read_as_floats(const TensorEntry& entry) {
  return is_weight_float(entry) || has_type(entry, DType::kF8E4M3) ||
         has_type(entry, DType::kF8E5M2) || has_decoded_blocks(entry);
}

}  // namespace intaglio
