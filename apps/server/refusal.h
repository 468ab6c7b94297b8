// Refusals in short.
#pragma once

#include <string>
#include <utility>

#include "server/job_service.h"

namespace intaglio::server {

inline tl::unexpected<Refusal> refused(Refusal::Reason reason, std::string message,
                                       double retry_after_seconds = 0) {
  return tl::unexpected<Refusal>(Refusal{.reason = reason,
                                         .parameter = {},
                                         .message = std::move(message),
                                         .retry_after_seconds = retry_after_seconds});
}
// Messages begin with the name of the parameter where there is one.
inline tl::unexpected<Refusal> invalid(std::string parameter, std::string message) {
  auto refusal = refused(Refusal::Reason::kInvalid, std::move(message));
  refusal.value().parameter = std::move(parameter);
  return refusal;
}

// The same of an API that calls the parameter `from` by another name.
inline Refusal renamed(Refusal refusal, const std::string& from, const std::string& to) {
  if (refusal.parameter != from) return refusal;
  if (refusal.message.starts_with(from)) refusal.message.replace(0, from.size(), to);
  refusal.parameter = to;
  return refusal;
}

}  // namespace intaglio::server
