// How an op chooses among its implementations: an ordered list, best first, each stating its own
// refusal.
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

inline DeviceKind device_kind(const Context& context) {
  return context.gpu != nullptr ? DeviceKind::kGpu : DeviceKind::kCpu;
}

// An op in the trace ("float_gemm") and in messages to a user ("a matrix product").
struct OpName {
  std::string_view traced;
  std::string_view words;
};

// Logs a decision the first time it is made: which op, of what shape, by whom, and who refused why.
void trace_decision(std::string_view line);

// kUnsupported: the op, its shape and the device, with the reason of the implementation that takes
// most. No implementation is named: that is the trace's part.
tl::unexpected<Error> no_implementation_error(const OpName& op, std::string_view shape,
                                              const Context& context, Refusal reason);

// First implementation of `list` (elements have `name`, `device` and `can_run(desc, context)`) that
// accepts; logs the choice under INTAGLIO_TRACE=dispatch. The last one for a device takes most of
// all. `describe(desc)` and refusals are put into words only when they are read.
template <typename Implementation, typename Desc, typename Describe>
Expected<const Implementation*> choose(const OpName& op, std::span<const Implementation> list,
                                       const Desc& desc, const Context& context,
                                       Describe&& describe) {
  static const bool traced = trace_enabled("dispatch");
  const Implementation* chosen = nullptr;
  std::string refusals;
  Refusal last = nullptr;
  for (const Implementation& implementation : list) {
    Refusal refusal = refuse_device(implementation.device, context);
    const bool is_here = refusal == nullptr;
    if (is_here) refusal = implementation.can_run(desc, context);
    if (refusal == nullptr) {
      chosen = &implementation;
      break;
    }
    if (is_here) last = refusal;
    if (traced) refusals += fmt::format("; {} refused: {}", implementation.name, refusal);
  }
  if (traced) {
    trace_decision(fmt::format("dispatch {} {}: {}{}", op.traced, describe(desc),
                               chosen != nullptr ? chosen->name : "none", refusals));
  }
  if (chosen != nullptr) return chosen;
  return no_implementation_error(op, describe(desc), context, last);
}

}  // namespace intaglio
