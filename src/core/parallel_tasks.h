// Parallel loops that end early when the caller asks to stop.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/parallel.h"
#include "core/status.h"

namespace intaglio {

// parallel_for by `threads` threads that starts no piece after the caller has asked to stop:
// kCancelled then, with some pieces left out. So that a stop takes no longer than one piece, pieces
// should take milliseconds.
template <typename Fn>
Status parallel_tasks(const Context& context, int threads, int64_t count, int64_t grain, Fn&& fn) {
  const std::atomic<bool>* const cancel = context.cancel;
  parallel_for(threads, count, grain, [&](int64_t begin, int64_t end, int thread) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return;
    fn(begin, end, thread);
  });
  return check_cancelled(context);
}

// The same by all threads of the context.
template <typename Fn>
Status parallel_tasks(const Context& context, int64_t count, int64_t grain, Fn&& fn) {
  return parallel_tasks(context, context.threads, count, grain, fn);
}

}  // namespace intaglio
