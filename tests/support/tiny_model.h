// Variants of tests/reference/data/tiny in a folder of their own: its files by links, until a test
// writes others in their place.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "core/files.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio::test {

class TinyModel {
 public:
  TinyModel() {
    namespace fs = std::filesystem;
    const fs::path source = source_path("tests/reference/data/tiny");
    for (const auto& entry : fs::recursive_directory_iterator(source)) {
      const fs::path target = folder_.path() / fs::relative(entry.path(), source);
      if (entry.is_directory()) {
        fs::create_directories(target);
      } else {
        fs::create_symlink(entry.path(), target);
      }
    }
  }

  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

  // Removes a file or a folder.
  void remove(const std::string& name) const { std::filesystem::remove_all(folder_ / name); }
  // Moves a file or a folder.
  void move(const std::string& from, const std::string& to) const {
    std::filesystem::create_directories((folder_ / to).parent_path());
    std::filesystem::rename(folder_ / from, folder_ / to);
  }
  void write(const std::string& name, const std::string& bytes) const {
    std::filesystem::remove(folder_ / name);
    folder_.write(name, bytes);
  }
  // Rewrites a JSON file.
  void edit(const std::string& name, const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json json = nlohmann::json::parse(read_file(folder_ / name).value());
    change(json);
    write(name, json.dump());
  }
  void set(const std::string& name, const std::string& key, const nlohmann::json& value) const {
    edit(name, [&](nlohmann::json& json) { json[key] = value; });
  }

  // Rewrites a safetensors file. `change` gets the entries with data of their own; what it changes
  // of them is written.
  struct Tensor {
    std::string name;
    DType dtype;
    Shape shape;
    std::string bytes;
  };
  void edit_weights(const std::string& name,
                    const std::function<void(std::vector<Tensor>&)>& change) const {
    std::vector<Tensor> tensors;
    {
      const auto file = SafetensorsFile::open(folder_ / name).value();
      for (const TensorEntry& entry : file->tensors()) {
        std::string bytes(entry.view.size_bytes(), '\0');
        ASSERT_TRUE(read_tensor_bytes(entry, 0, std::as_writable_bytes(std::span(bytes))));
        tensors.push_back({entry.name, entry.view.dtype, entry.view.shape, std::move(bytes)});
      }
    }
    change(tensors);
    std::vector<TensorEntry> entries;
    for (const Tensor& t : tensors) entries.push_back({t.name, {t.bytes.data(), t.dtype, t.shape}});
    std::filesystem::remove(folder_ / name);
    ASSERT_TRUE(write_safetensors(folder_ / name, entries));
  }
  // Makes the first element of a bf16 tensor `value`.
  void poison(const std::string& name, const std::string& tensor, float value) const {
    edit_weights(name, [&](std::vector<Tensor>& tensors) {
      size_t found = 0;
      for (Tensor& t : tensors) {
        if (t.name != tensor) continue;
        ++found;
        ASSERT_EQ(t.dtype, DType::kBF16);
        const BFloat16 bits(value);
        std::memcpy(t.bytes.data(), &bits, sizeof(bits));
      }
      ASSERT_EQ(found, 1u) << tensor;
    });
  }

 private:
  TempFolder folder_;
};

}  // namespace intaglio::test
