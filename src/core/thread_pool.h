// Threads that wait for short parallel loops.
//
// A forward pass is some two hundred loops of 10 us to 10 ms. Two things matter: a loop must start within microseconds, and it must not stall when the
// machine is busy. So idle threads spin briefly, then sleep; pieces are handed out one by one; and the caller never waits for a thread that has not
// started on a piece: if the others do not come, it does the work alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace intaglio {

class ThreadPool {
 public:
  using PieceFunction = void (*)(void* context, int64_t piece, int thread);

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls fn(context, piece, thread) once for every piece of [0, pieces); `thread` is in [0, threads), 0 being the caller, and no two pieces run at once
  // with the same `thread`. Returns when all are done. fn must not throw. A call from inside a loop, or while another caller's loop runs, runs serially.
  void run(int threads, int64_t pieces, PieceFunction fn, void* context);

  // The pool of this process. Threads start when first needed.
  static ThreadPool& global();

 private:
  // state_: generation in the upper bits, then one bit for "open", then the count of workers inside.
  static constexpr uint64_t kOpen = 1u << 15;
  static constexpr uint64_t kInsideMask = kOpen - 1;
  static constexpr int kGenerationShift = 16;

  void grow(int workers);
  void work(int index);
  void take_pieces(int thread);

  std::atomic<bool> busy_{false};  // a loop is running
  std::vector<std::thread> workers_;
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
};

}  // namespace intaglio
