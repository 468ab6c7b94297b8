// Checkpoints made up by a test, of zeros but for descriptors.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/temp_folder.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {

class MadeFile {
 public:
  MadeFile& tensor(const std::string& name, DType dtype, const Shape& shape) {
    bytes_.emplace_back(static_cast<size_t>(shape.count()) * dtype_size(dtype));
    entries_.push_back({.name = name, .view = {nullptr, dtype, shape}});
    return *this;
  }
  MadeFile& text(const std::string& name, const std::string& value) {
    const auto size = static_cast<int64_t>(value.size());
    return numbers(name, DType::kU8, {size}, std::vector<char>(value.begin(), value.end()));
  }
  template <typename T>
  MadeFile& numbers(const std::string& name, DType dtype, const Shape& shape,
                    const std::vector<T>& values) {
    tensor(name, dtype, shape);
    std::memcpy(bytes_.back().data(), values.data(), bytes_.back().size());
    return *this;
  }
  MadeFile& header(const std::string& key, const std::string& value) {
    metadata_[key] = value;
    return *this;
  }
  // What lies beside the file.
  MadeFile& beside(const std::string& quantization) {
    quantization_ = quantization;
    return *this;
  }
  Expected<std::shared_ptr<const StoredWeights>> open() const {
    std::vector<TensorEntry> entries = entries_;
    for (size_t i = 0; i < entries.size(); ++i) entries[i].view.data = bytes_[i].data();
    EXPECT_TRUE(write_safetensors(*folder_ / "x.safetensors", entries, metadata_));
    return StoredWeights::open(*SafetensorsFile::open(*folder_ / "x.safetensors"), quantization_);
  }
  // Of opening it, or of reading a linear; "" if all is well.
  std::string problem() const {
    const auto weights = open();
    if (!weights) return weights.error().message;
    for (const auto& [name, entry] : (*weights)->linears()) {
      const auto linear = (*weights)->linear(name);
      if (!linear) return linear.error().message;
    }
    return "";
  }
  Rotation rotation() const {
    const auto weights = open();
    if (!weights) throw std::runtime_error(weights.error().message);
    return (*weights)->linears().at("a").rotation;
  }

 private:
  std::shared_ptr<TempFolder> folder_ = std::make_shared<TempFolder>();
  std::vector<std::vector<char>> bytes_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::string quantization_;
};

}  // namespace intaglio
