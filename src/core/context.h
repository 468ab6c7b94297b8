// What an op runs on: threads, instruction set, scratch memory. The caller owns all of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/arena.h"
#include "core/cpu_features.h"
#include "core/parallel.h"
#include "core/status.h"

namespace intaglio {

struct Context {
  int threads = 1;
  CpuFeatures cpu;
  const std::atomic<bool>* cancel =
      nullptr;  // set by the caller to stop; models look at it once a layer
  Arena* scratch =
      nullptr;  // ops take what they need in a scope and give it back before they return
};

// kCancelled once the caller has asked to stop.
inline Status check_cancelled(const Context& context) {
  if (context.cancel == nullptr || !context.cancel->load(std::memory_order_relaxed)) return {};
  return make_error(ErrorCode::kCancelled, "stopped on request");
}

}  // namespace intaglio
