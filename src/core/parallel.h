// Parallel loops over one team of OpenMP threads (serial without OpenMP), shared with oneDNN so that no two pools compete for the cores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace intaglio {

// Calls fn(begin, end, thread) over [0, count) in pieces of at most `grain`, handed out dynamically. `thread` is in [0, threads).
// fn must not throw.
template <typename Fn>
void parallel_for(int threads, int64_t count, int64_t grain, Fn&& fn) {
  if (count <= 0) return;
  grain = std::max<int64_t>(1, grain);
  const int64_t pieces = (count + grain - 1) / grain;
  const int team = static_cast<int>(std::min<int64_t>(std::max(threads, 1), pieces));
#if defined(_OPENMP)
  if (team > 1) {
    std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(team)
    {
      const int thread = omp_get_thread_num();
      for (int64_t piece = next.fetch_add(1, std::memory_order_relaxed); piece < pieces;
           piece = next.fetch_add(1, std::memory_order_relaxed)) {
        fn(piece * grain, std::min(count, (piece + 1) * grain), thread);
      }
    }
    return;
  }
#endif
  for (int64_t piece = 0; piece < pieces; ++piece)
    fn(piece * grain, std::min(count, (piece + 1) * grain), 0);
}

}  // namespace intaglio
