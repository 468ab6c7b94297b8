// From the engine's Status to the C interface's code and its thread-local message.
#pragma once

#include "core/status.h"
#include "intaglio/intaglio.h"

namespace intaglio::abi {

// Keeps the error's message for intaglio_last_error() and gives its code; INTAGLIO_OK leaves the
// message alone.
intaglio_status report(const Status& status) noexcept;

const char* last_error() noexcept;

// Runs `body` (a Status()) for the C interface: no exception leaves it.
template <typename Body>
intaglio_status guarded(Body&& body) noexcept {
  try {
    return report(body());
  } catch (const std::bad_alloc&) {
    return report(make_error(ErrorCode::kOutOfMemory, "no host memory for an error message"));
  } catch (...) {
    return report(make_error(ErrorCode::kInternal, "an exception reached the C interface"));
  }
}

}  // namespace intaglio::abi
