// Errors as values. Every fallible function of the library returns Status or Expected<T>; nothing
// throws across the public surface.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include "core/escape.h"

namespace intaglio {

enum class ErrorCode {
  kInvalidArgument,  // the caller passed something that cannot be served
  kNotFound,         // a file, tensor or implementation is missing
  kBadFormat,        // a file or document does not follow its format
  kShapeMismatch,    // a tensor has another shape or type than the model needs
  kUnsupported,      // understood, but this build or machine cannot do it
  kOutOfMemory,      // the plan needs more memory than there is
  kIo,               // the operating system refused a read or a write
  kCancelled,        // the caller asked to stop
  kDevice,           // a GPU or its driver reported an error
  kInternal,         // a broken invariant: a bug in the engine
};

// Stable name of a code, e.g. "invalid_argument", used in messages and JSON.
std::string_view error_code_name(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // what, where, found, expected; one or more lines, no trailing newline
};

template <typename T>
using Expected = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

// Texts among `args` (names out of files, paths, reasons of the system) are escaped: no file can
// forge a line of a message. A message of several lines goes into another one as OwnLines.
template <typename... Args>
tl::unexpected<Error> make_error(ErrorCode code, fmt::format_string<Args...> format,
                                 Args&&... args) {
  return tl::unexpected<Error>(Error{code, message_of(format, std::forward<Args>(args)...)});
}

}  // namespace intaglio

#define INTAGLIO_CONCAT_(a, b) a##b
#define INTAGLIO_CONCAT(a, b) INTAGLIO_CONCAT_(a, b)

// Returns the error of `expr` (a Status or Expected) from the enclosing function.
#define INTAGLIO_TRY(expr)                                                            \
  do {                                                                                \
    if (auto intaglio_status = (expr); !intaglio_status) {                            \
      return ::tl::unexpected<::intaglio::Error>(std::move(intaglio_status.error())); \
    }                                                                                 \
  } while (false)

// `INTAGLIO_ASSIGN(auto x, f());` declares x from an Expected, or returns its error.
#define INTAGLIO_ASSIGN(declaration, expr) \
  INTAGLIO_ASSIGN_(declaration, expr, INTAGLIO_CONCAT(intaglio_expected_, __LINE__))
#define INTAGLIO_ASSIGN_(declaration, expr, name)                                 \
  auto name = (expr);                                                             \
  if (!name) return ::tl::unexpected<::intaglio::Error>(std::move(name.error())); \
  declaration = std::move(*name)
