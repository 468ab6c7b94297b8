// Files of tests/formats.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/formats/stored_weights.h"
#include "support/source_folder.h"

namespace intaglio {

inline std::shared_ptr<const SafetensorsFile> file_at(const std::string& path) {
  auto file = SafetensorsFile::open(test::source_path("tests/formats/" + path));
  if (!file) throw std::runtime_error(file.error().message);
  return *file;
}

inline std::shared_ptr<const StoredWeights> weights_at(const std::string& path) {
  auto weights = StoredWeights::open(file_at(path));
  if (!weights) throw std::runtime_error(weights.error().message);
  return *weights;
}

inline float largest(const std::vector<float>& values) {
  float most = 0.0f;
  for (const float value : values) most = std::max(most, std::fabs(value));
  return most;
}

}  // namespace intaglio
