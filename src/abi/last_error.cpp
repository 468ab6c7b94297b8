#include "abi/last_error.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace intaglio::abi {
namespace {

// A fixed buffer, so that reporting an error cannot fail for want of memory.
thread_local std::array<char, 1024> message{};

intaglio_status code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return INTAGLIO_INVALID_ARGUMENT;
    case ErrorCode::kUnsupported:
      return INTAGLIO_UNSUPPORTED;
    case ErrorCode::kOutOfMemory:
      return INTAGLIO_OUT_OF_MEMORY;
    case ErrorCode::kDevice:
      return INTAGLIO_DEVICE_ERROR;
    case ErrorCode::kCancelled:
      return INTAGLIO_CANCELLED;
    case ErrorCode::kNotFound:
      return INTAGLIO_NOT_FOUND;
    case ErrorCode::kBadFormat:
    case ErrorCode::kShapeMismatch:
      return INTAGLIO_BAD_FORMAT;
    case ErrorCode::kIo:
      return INTAGLIO_IO_ERROR;
    case ErrorCode::kInternal:
      return INTAGLIO_INTERNAL;
  }
  return INTAGLIO_INTERNAL;
}

}  // namespace

intaglio_status report(const Status& status) noexcept {
  if (status) return INTAGLIO_OK;
  const Error& error = status.error();
  const size_t length = std::min(error.message.size(), message.size() - 1);
  std::memcpy(message.data(), error.message.data(), length);
  message[length] = '\0';
  return code_of(error.code);
}

const char* last_error() noexcept { return message.data(); }

}  // namespace intaglio::abi
