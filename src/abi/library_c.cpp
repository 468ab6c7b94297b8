// What of include/intaglio/intaglio.h is about the library itself.
#include <string>

#include "abi/last_error.h"
#include "core/log.h"

namespace intaglio::abi {
namespace {

intaglio_log_level level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return INTAGLIO_LOG_DEBUG;
    case LogLevel::kInfo:
      return INTAGLIO_LOG_INFO;
    case LogLevel::kWarning:
      return INTAGLIO_LOG_WARNING;
    case LogLevel::kError:
      return INTAGLIO_LOG_ERROR;
  }
  return INTAGLIO_LOG_ERROR;
}

Status set_log(intaglio_log_callback callback, void* user) {
  if (callback == nullptr) {
    set_log_callback({});
    return {};
  }
  set_log_callback([callback, user](LogLevel level, std::string_view message) {
    callback(user, level_of(level), std::string(message).c_str());
  });
  return {};
}

}  // namespace
}  // namespace intaglio::abi

int32_t intaglio_version(void) {
  return INTAGLIO_VERSION_MAJOR * 10000 + INTAGLIO_VERSION_MINOR * 100 + INTAGLIO_VERSION_PATCH;
}

const char* intaglio_status_name(intaglio_status status) {
  switch (status) {
    case INTAGLIO_OK:
      return "ok";
    case INTAGLIO_INVALID_ARGUMENT:
      return "invalid_argument";
    case INTAGLIO_UNSUPPORTED:
      return "unsupported";
    case INTAGLIO_OUT_OF_MEMORY:
      return "out_of_memory";
    case INTAGLIO_DEVICE_ERROR:
      return "device_error";
    case INTAGLIO_INTERNAL:
      return "internal";
    case INTAGLIO_CANCELLED:
      return "cancelled";
    case INTAGLIO_NOT_FOUND:
      return "not_found";
    case INTAGLIO_BAD_FORMAT:
      return "bad_format";
    case INTAGLIO_IO_ERROR:
      return "io_error";
    default:
      return "unknown";
  }
}

const char* intaglio_last_error(void) { return intaglio::abi::last_error(); }

void intaglio_set_log_callback(intaglio_log_callback callback, void* user) {
  static_cast<void>(intaglio::abi::guarded([&] { return intaglio::abi::set_log(callback, user); }));
}
