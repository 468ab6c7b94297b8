// Parallel loops over the threads of ThreadPool::global().
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/thread_pool.h"

namespace intaglio {

// Calls fn(begin, end, thread) over [0, count) in pieces of at most `grain`, handed out
// dynamically. `thread` is in [0, threads). What fn throws ends the loop and reaches the caller.
template <typename Fn>
void parallel_for(int threads, int64_t count, int64_t grain, Fn&& fn) {
  if (count <= 0) return;
  grain = std::max<int64_t>(1, grain);
  struct Loop {
    std::remove_reference_t<Fn>* fn;
    int64_t count, grain;
  } loop{&fn, count, grain};
  const int64_t pieces = (count + grain - 1) / grain;
  ThreadPool::global().run(
      threads, pieces,
      [](void* context, int64_t piece, int thread) {
        const auto* l = static_cast<const Loop*>(context);
        (*l->fn)(piece * l->grain, std::min(l->count, (piece + 1) * l->grain), thread);
      },
      &loop);
}

}  // namespace intaglio
