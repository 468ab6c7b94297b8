#include "eval/towers/tower_weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/out_of_memory.h"
#include "io/content_hash.h"
#include "models/hash_cache.h"

namespace intaglio::towers {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostSize = int64_t{1} << 24;

bool is_pickle(const fs::path& path) {
  const std::string end = path.extension().string();
  return end == ".pt" || end == ".pth" || end == ".bin" || end == ".ckpt";
}

// A pickled file that stands in for the weights of a folder; empty: none.
fs::path only_pickle(const fs::path& folder) {
  fs::path pickle;
  std::error_code error;
  for (const fs::directory_entry& one : fs::directory_iterator(folder, error)) {
    const std::string end = one.path().extension().string();
    if (end == ".safetensors" || end == ".gguf") return {};
    if (is_pickle(one.path())) pickle = one.path();
  }
  return pickle;
}

tl::unexpected<Error> refuse_pickle(const fs::path& path) {
  const fs::path target = fs::path(path).replace_extension(".safetensors");
  return make_error(
      ErrorCode::kUnsupported,
      "{}: a pickle, which can run any program when it is read; expected safetensors. Convert it "
      "where PyTorch is: python3 -c 'import torch; from safetensors.torch import save_file; "
      "save_file({{k: v.clone() for k, v in torch.load(\"{}\", weights_only=True).items()}}, "
      "\"{}\")'",
      path.string(), path.filename().string(), target.filename().string());
}

// Sizes but for those of 1.
std::vector<int64_t> wide_sizes(const Shape& shape) {
  std::vector<int64_t> sizes;
  for (int axis = 0; axis < shape.rank; ++axis)
    if (shape[axis] != 1) sizes.push_back(shape[axis]);
  return sizes;
}

}  // namespace

Expected<TowerWeights> TowerWeights::open(std::span<const fs::path> paths) {
  TowerWeights weights;
  for (const fs::path& path : paths) {
    if (is_pickle(path)) return refuse_pickle(path);
    if (fs::is_directory(path))
      if (const fs::path pickle = only_pickle(path); !pickle.empty()) return refuse_pickle(pickle);
    INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> file, Checkpoint::open(path));
    weights.files_.push_back(std::move(file));
  }
  return weights;
}

const TensorEntry* TowerWeights::entry(std::string_view name) const {
  for (const auto& file : files_)
    if (const TensorEntry* const found = file->find(name)) return found;
  return nullptr;
}

std::string TowerWeights::where() const {
  std::string names;
  for (const auto& file : files_) names += (names.empty() ? "" : " and ") + file->path().string();
  return names;
}

std::optional<std::string> TowerWeights::find(std::span<const std::string> names) const {
  for (const std::string& name : names)
    if (has(name)) return name;
  return std::nullopt;
}

Expected<Shape> TowerWeights::shape(const std::string& name, int rank) const {
  const TensorEntry* const found = entry(name);
  if (found == nullptr)
    return make_error(ErrorCode::kNotFound, "{}: no tensor \"{}\"", where(), name);
  if (found->shape().rank != rank)
    return make_error(ErrorCode::kShapeMismatch, "{}: {} is {}, expected {} dimensions", where(),
                      name, to_string(found->shape()), rank);
  return found->shape();
}

Expected<std::vector<float>> TowerWeights::read(const std::string& name, const Shape& shape) const {
  const TensorEntry* const found = entry(name);
  if (found == nullptr)
    return make_error(ErrorCode::kNotFound, "{}: no tensor \"{}\", expected {} {}", where(), name,
                      name, to_string(shape));
  if (wide_sizes(found->shape()) != wide_sizes(shape))
    return make_error(ErrorCode::kShapeMismatch, "{}: {} is {}, expected {}", where(), name,
                      to_string(found->shape()), to_string(shape));
  return guard_memory("reading weights", [&] { return read_floats(*found); });
}

Status TowerWeights::refuse_more(const std::string& prefix, int64_t count,
                                 std::string_view key) const {
  const std::string next = fmt::format("{}{}.", prefix, count);
  for (const auto& file : files_)
    for (const TensorEntry* const tensor : file->tensors())
      if (tensor->name.starts_with(next))
        return make_error(ErrorCode::kShapeMismatch,
                          "{}: has a tensor {}, but the config says {} {}; expected the config of "
                          "these weights",
                          where(), tensor->name, key, count);
  return {};
}

Expected<std::string> TowerWeights::hash(const std::atomic<bool>* cancel) const {
  std::string all;
  for (const auto& file : files_) {
    INTAGLIO_ASSIGN(const uint64_t one, kept_hash(*file, cancel));
    all += fmt::format("{:016x}", one);
  }
  return files_.size() == 1 ? all : hash128_text(all).substr(0, 16);
}

Expected<int64_t> size_of(const JsonConfig& config, std::string_view key, int64_t fallback) {
  return fallback > 0 ? config.integer_or(key, fallback, 1, kMostSize)
                      : config.integer(key, 1, kMostSize);
}

}  // namespace intaglio::towers
