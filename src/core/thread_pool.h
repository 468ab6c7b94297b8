// Threads that wait for short parallel loops.
//
// A forward pass is some two hundred loops of 10 us to 10 ms. Two things matter: a loop must start
// within microseconds, and it must not stall when the machine is busy. So idle threads spin
// briefly, then sleep; pieces are handed out one by one; and the caller never waits for a thread
// that has not started on a piece: if the others do not come, it does the work alone.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "core/status.h"

namespace intaglio {

class ThreadPool {
 public:
  using PieceFunction = void (*)(void* context, int64_t piece, int thread);

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls fn(context, piece, thread) once for every piece of [0, pieces); `thread` is in [0,
  // threads), 0 being the caller, and no two pieces run at once with the same `thread`. Returns
  // when all are done. A call from inside a loop, or while another caller's loop runs, runs
  // serially. If a piece throws (memory may run out anywhere), pieces that have not begun are left
  // out and the caller gets the first exception once no piece runs any more.
  void run(int threads, int64_t pieces, PieceFunction fn, void* context);

  // Starts the threads that loops of `threads` need, the caller's own being one of them.
  // kUnsupported says how many could be started and what limits them; loops then run with those.
  // `run` starts what is missing, and says nothing.
  Status start(int threads);

  // The pool of this process.
  static ThreadPool& global();

 private:
  // state_: generation in the upper bits, then one bit for "open", then the count of workers
  // inside.
  static constexpr uint64_t kOpen = 1u << 15;
  static constexpr uint64_t kInsideMask = kOpen - 1;
  static constexpr int kGenerationShift = 16;

  // 0, or what the system said (errno).
  int grow(int workers);
  void work(int index);
  void take_pieces(int thread);

  std::atomic<bool> busy_{false};  // a loop is running
  std::mutex growing_;             // guards workers_
  std::vector<pthread_t> workers_;
  std::atomic<int> started_{0};            // workers_.size()
  std::atomic<int> next_index_{1};         // of the worker that comes to life next
  std::atomic<bool> may_not_grow_{false};  // the system refused a thread: loops do not ask again
  std::atomic<bool> stopping_{false};
  std::atomic<int> wake_{0};  // changes whenever a loop opens: what sleeping workers wait on
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  // The loop; written while closed and empty, read while inside.
  int limit_ = 0;
  int64_t pieces_ = 0;
  PieceFunction fn_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // of the piece that set failed_
};

}  // namespace intaglio
