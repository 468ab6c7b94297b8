// What tests/reference/towers holds of a judge, and how far results are from it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/files.h"
#include "eval/towers/picture_input.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "support/source_folder.h"

namespace intaglio::test {

class TowerReference {
 public:
  explicit TowerReference(const std::string& name)
      : folder_(source_path("tests/reference/towers/" + name)) {
    auto file = SafetensorsFile::open(folder_ / "expected.safetensors");
    if (!file) throw std::runtime_error(file.error().message);
    file_ = *file;
    const std::filesystem::path notes = folder_ / "expected.json";  // LPIPS needs none
    if (std::filesystem::exists(notes)) notes_ = nlohmann::json::parse(read_file(notes).value());
  }

  const std::filesystem::path& folder() const { return folder_; }
  bool has(const std::string& name) const { return file_->find(name) != nullptr; }
  std::vector<float> floats(const std::string& name) const {
    return read_floats(*file_->find(name)).value();
  }
  RgbImage picture(const std::string& name) const {
    const TensorEntry* const entry = file_->find(name);
    const Tensor tensor = read_tensor(*entry).value();
    const auto* const first = tensor.view.as<uint8_t>();
    RgbImage image{entry->shape()[1], entry->shape()[0], {}};
    image.pixels.assign(first, first + 3 * image.width * image.height);
    return image;
  }
  // Planes of a square picture.
  towers::Pixels pixels(const std::string& name, int64_t side) const {
    return {side, side, floats(name)};
  }
  // Not a copy: a loop may walk a part of it.
  const nlohmann::json& notes() const { return notes_; }

 private:
  std::filesystem::path folder_;
  std::shared_ptr<const SafetensorsFile> file_;
  nlohmann::json notes_;
};

// The largest difference, of the larger of 1 and the largest expected value.
inline double difference(std::span<const float> found, std::span<const float> expected) {
  if (found.size() != expected.size()) return INFINITY;
  double most = 0.0, scale = 1.0;
  for (size_t i = 0; i < found.size(); ++i) {
    most = std::max(most, std::abs(double{found[i]} - double{expected[i]}));
    scale = std::max(scale, std::abs(double{expected[i]}));
  }
  return most / scale;
}

}  // namespace intaglio::test
