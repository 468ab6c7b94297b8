// GGUF files put together value by value, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"

namespace intaglio::test {

class GgufBytes {
 public:
  // Magic, version, and the numbers of what follows.
  explicit GgufBytes(uint64_t tensors = 0, uint64_t keys = 0, uint32_t version = 3) {
    bytes_ = "GGUF";
    add(version).add(tensors).add(keys);
  }

  template <typename T>
  GgufBytes& add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  GgufBytes& text(std::string_view value) {
    add(uint64_t{value.size()});
    bytes_ += value;
    return *this;
  }
  GgufBytes& key(std::string_view name, uint32_t type) { return text(name).add(type); }
  // `sizes` as they stand in the file, those of a row first.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                    uint64_t offset) {
    text(name).add(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) add(size);
    return add(type).add(offset);
  }
  GgufBytes& data(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  GgufBytes& pad(size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_ += '\0';
    return *this;
  }
  GgufBytes& zeros(size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  // The file lasts as long as this object, which must not change any more.
  Expected<std::shared_ptr<const GgufFile>> parse() const {
    return GgufFile::parse(std::as_bytes(std::span(bytes_)), "x.gguf");
  }
  std::string problem() const {
    const auto file = parse();
    return file ? "" : file.error().message;
  }

 private:
  std::string bytes_;
};

}  // namespace intaglio::test
