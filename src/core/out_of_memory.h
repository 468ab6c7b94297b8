// Memory that runs out inside a library call leaves it as an error value.
#pragma once

#include <new>
#include <string_view>

#include "core/status.h"

namespace intaglio {

// What `body` (a Status() or Expected()) returns; kOutOfMemory if an allocation fails in it.
// `doing` completes "out of memory while".
template <typename Body>
auto guard_memory(std::string_view doing, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "out of memory while {}", doing);
  }
}

// The same for reading or writing a file.
template <typename Path, typename Body>
auto guard_file_memory(const Path& path, std::string_view doing, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "{}: out of memory while {} it", path.string(),
                      doing);
  }
}

}  // namespace intaglio
