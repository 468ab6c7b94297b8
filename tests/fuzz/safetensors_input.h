// Any input as a safetensors file: its header up to the first zero byte, then the data, with the
// length put right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

// Calls visit(bytes) with the file.
template <typename Visit>
void visit_as_safetensors(const uint8_t* data, size_t size, Visit&& visit) {
  const void* zero = size > 0 ? std::memchr(data, 0, size) : nullptr;
  const size_t header =
      zero == nullptr ? size : static_cast<size_t>(static_cast<const uint8_t*>(zero) - data);
  const size_t body = zero == nullptr ? size : header + 1;
  // Exactly as large as the file, so that the sanitizer sees the first byte past it.
  const size_t total = 8 + header + (size - body);
  const auto file = std::make_unique<std::byte[]>(total);
  const uint64_t length = header;
  std::memcpy(file.get(), &length, 8);
  if (header > 0) std::memcpy(file.get() + 8, data, header);
  if (size > body) std::memcpy(file.get() + 8 + header, data + body, size - body);
  visit(std::span<const std::byte>(file.get(), total));
}
