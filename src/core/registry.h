// How an op chooses among its implementations: an ordered list, best first, each stating its own refusal.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/context.h"
#include "core/log.h"
#include "core/status.h"

namespace intaglio {

// nullptr = can run; otherwise the reason of the refusal, a string literal.
using Refusal = const char*;

// What an implementation runs on.
enum class DeviceKind { kCpu, kGpu };

inline Refusal refuse_device(DeviceKind kind, const Context& context) {
  if (context.gpu != nullptr) return kind == DeviceKind::kGpu ? nullptr : "runs on the CPU";
  return kind == DeviceKind::kCpu ? nullptr : "runs on a GPU";
}

// First implementation of `list` (elements have `name`, `device` and `can_run(desc, context)`) that accepts; logs the choice under INTAGLIO_TRACE=dispatch.
// `describe(desc)` is called only when traced.
template <typename Implementation, typename Desc, typename Describe>
Expected<const Implementation*> choose(std::string_view op, std::span<const Implementation> list,
                                       const Desc& desc, const Context& context,
                                       Describe&& describe) {
  static const bool traced = trace_enabled("dispatch");
  std::string refusals;
  for (const Implementation& implementation : list) {
    Refusal refusal = refuse_device(implementation.device, context);
    if (refusal == nullptr) refusal = implementation.can_run(desc, context);
    if (refusal == nullptr) {
      if (traced)
        log(LogLevel::kInfo, "dispatch {} {}: {}{}", op, describe(desc), implementation.name,
            refusals);
      return &implementation;
    }
    refusals += fmt::format("; {} refused: {}", implementation.name, refusal);
  }
  return make_error(ErrorCode::kUnsupported, "no implementation of {} for {}{}", op, describe(desc),
                    refusals);
}

}  // namespace intaglio
