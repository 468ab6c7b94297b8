// Structs of the C interface that grow: a caller built against an older or newer header passes its
// own size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/status.h"

namespace intaglio::abi {

// Larger sizes are taken for uninitialised memory: no version of a struct comes near.
inline constexpr uint64_t kMaxStructSize = 4096;

// Copies `from` into `to`, a struct of this library's version: missing fields are zero, unknown
// ones must be zero. `first_size` is the size of the struct's first version.
template <typename T>
Status read_struct(const T* from, const char* name, uint64_t first_size, T& to) {
  if (from == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "{}: null, expected a struct", name);
  uint64_t size = 0;
  std::memcpy(&size, from, sizeof size);
  if (size < first_size || size > kMaxStructSize)
    return make_error(ErrorCode::kInvalidArgument,
                      "{}.struct_size: {}, expected the size of the struct, {} bytes", name, size,
                      sizeof(T));
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  if (size > sizeof(T) &&
      std::any_of(bytes + sizeof(T), bytes + size, [](unsigned char byte) { return byte != 0; }))
    return make_error(ErrorCode::kUnsupported,
                      "{}: sets a field after byte {}, which this version of the library lacks",
                      name, sizeof(T));
  to = T{};
  std::memcpy(&to, from, std::min<uint64_t>(size, sizeof(T)));
  return {};
}

// Fills a struct of the caller's size, which says how much of `from` it has room for; what a longer
// one has beyond that is left as it was.
template <typename T>
Status write_struct(const T& from, const char* name, uint64_t first_size, T* to) {
  if (to == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "{}: null, expected a struct", name);
  uint64_t size = 0;
  std::memcpy(&size, to, sizeof size);
  if (size < first_size || size > kMaxStructSize)
    return make_error(ErrorCode::kInvalidArgument,
                      "{}.struct_size: {}, expected the size of the struct, {} bytes", name, size,
                      sizeof(T));
  const auto* bytes = reinterpret_cast<const unsigned char*>(&from);
  std::memcpy(reinterpret_cast<unsigned char*>(to) + sizeof size, bytes + sizeof size,
              std::min<uint64_t>(size, sizeof(T)) - sizeof size);
  return {};
}

}  // namespace intaglio::abi
