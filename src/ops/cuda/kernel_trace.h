// Which kernel and tile of an implementation runs, under INTAGLIO_TRACE=dispatch.
#pragma once

#include <utility>

#include "core/log.h"
#include "core/registry.h"

namespace intaglio::cuda {

// Logs "dispatch " and what `describe()` says, once each; nothing is put into words untraced.
template <typename Describe>
void trace_kernel(Describe&& describe) {
  if (trace_enabled("dispatch")) trace_decision("dispatch " + std::forward<Describe>(describe)());
}

}  // namespace intaglio::cuda
