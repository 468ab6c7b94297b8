// Tensors of the files that a judge's towers come from, as floats in the shapes that they need.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "io/checkpoint.h"
#include "io/json_config.h"

namespace intaglio::towers {

class TowerWeights {
 public:
  // `paths`: safetensors files, indices of shards, or folders that hold one of both; a tensor is
  // that of the first one with its name. Pickled files (.pt, .pth, .bin) are kUnsupported, with the
  // command that converts them.
  static Expected<TowerWeights> open(std::span<const std::filesystem::path> paths);

  // The first of `names` that is there; nullopt: none is.
  std::optional<std::string> find(std::span<const std::string> names) const;
  bool has(std::string_view name) const { return entry(name) != nullptr; }
  // kNotFound, or kShapeMismatch where it has another number of dimensions.
  Expected<Shape> shape(const std::string& name, int rank) const;
  // Row-major. kNotFound, or kShapeMismatch with both shapes; tensors of the same elements whose
  // shape is other by sizes of 1 alone are taken.
  Expected<std::vector<float>> read(const std::string& name, const Shape& shape) const;

  // kShapeMismatch if there is a tensor "<prefix><count>.": the config, which says `count` under
  // `key`, is not that of these weights.
  Status refuse_more(const std::string& prefix, int64_t count, std::string_view key) const;

  // Of names, shapes and data of all files: 16 hexadecimal digits. kCancelled.
  Expected<std::string> hash(const std::atomic<bool>* cancel) const;

 private:
  const TensorEntry* entry(std::string_view name) const;
  std::string where() const;  // of messages

  std::vector<std::shared_ptr<const Checkpoint>> files_;
};

// A number above 0 under `key`; `fallback` where the config does not say (0: it must).
Expected<int64_t> size_of(const JsonConfig& config, std::string_view key, int64_t fallback);

}  // namespace intaglio::towers
