// Files of tests/formats.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/formats/stored_weights.h"
#include "io/safetensors.h"
#include "support/source_folder.h"

namespace intaglio {

inline std::filesystem::path format_path(const std::string& path) {
  return test::source_path("tests/formats/" + path);
}

inline std::shared_ptr<const SafetensorsFile> file_at(const std::string& path) {
  auto file = SafetensorsFile::open(format_path(path));
  if (!file) throw std::runtime_error(file.error().message);
  return *file;
}

inline std::string text_at(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The weights of a file, or of a folder of them, as a program opens them; a file that has a
// description of its own beside it ("wide.json" of "wide.safetensors") with that.
inline std::shared_ptr<const StoredWeights> weights_at(const std::string& path) {
  std::filesystem::path own = format_path(path);
  if (own.extension() == ".safetensors" && exists(own.replace_extension(".json"))) {
    auto weights = StoredWeights::open(file_at(path), text_at(own));
    if (!weights) throw std::runtime_error(weights.error().message);
    return *weights;
  }
  auto checkpoint = Checkpoint::open(format_path(path));
  if (!checkpoint) throw std::runtime_error(checkpoint.error().message);
  auto weights = StoredWeights::open(*checkpoint);
  if (!weights) throw std::runtime_error(weights.error().message);
  return *weights;
}

inline float largest(const std::vector<float>& values) {
  float most = 0.0f;
  for (const float value : values) most = std::max(most, std::fabs(value));
  return most;
}

// expected.safetensors of a folder.
class Published {
 public:
  explicit Published(const std::string& folder)
      : file_(file_at(folder + "/expected.safetensors")) {}

  const SafetensorsFile& file() const { return *file_; }
  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  std::vector<float> floats(const std::string& name) const {
    return *read_floats(*file_->find(name));
  }
  template <typename T>
  std::vector<T> integers(const std::string& name) const {
    const Tensor tensor = *read_tensor(*file_->find(name));
    return {tensor.view.as<T>(), tensor.view.as<T>() + tensor.view.shape.count()};
  }
  // "layers.0.attention.o" of "wide/layers.0.attention.o/W", for each such name of the file `name`.
  std::vector<std::string> linears(const std::string& name) const {
    std::vector<std::string> found;
    for (const TensorEntry& entry : file_->tensors()) {
      if (!entry.name.starts_with(name + "/") || !entry.name.ends_with("/W")) continue;
      found.push_back(entry.name.substr(name.size() + 1, entry.name.size() - name.size() - 3));
      if (found.back().find('/') != std::string::npos) found.pop_back();
    }
    return found;
  }

 private:
  std::shared_ptr<const SafetensorsFile> file_;
};

}  // namespace intaglio
