#include "core/thread_pool.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace intaglio {
namespace {

constexpr int kMaxWorkers = 1023;
// About 50 to 150 us of waiting: longer than the serial code between two loops of a forward pass, shorter than anybody would notice on an idle machine.
constexpr int kSpins = 3000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadPool& ThreadPool::global() {
  static ThreadPool pool;
  return pool;
}

ThreadPool::~ThreadPool() {
  stopping_.store(true);
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::grow(int workers) {
  workers = std::min(workers, kMaxWorkers);
  while (static_cast<int>(workers_.size()) < workers) {
    const int index = static_cast<int>(workers_.size()) + 1;
    workers_.emplace_back([this, index] { work(index); });
  }
}

void ThreadPool::take_pieces(int thread) {
  for (int64_t piece = next_.fetch_add(1, std::memory_order_relaxed); piece < pieces_;
       piece = next_.fetch_add(1, std::memory_order_relaxed)) {
    fn_(context_, piece, thread);
  }
}

void ThreadPool::run(int threads, int64_t pieces, PieceFunction fn, void* context) {
  if (threads <= 1 || pieces <= 1 || busy_.exchange(true, std::memory_order_acquire)) {
    for (int64_t piece = 0; piece < pieces; ++piece) fn(context, piece, 0);
    return;
  }
  grow(threads - 1);
  limit_ = threads;
  pieces_ = pieces;
  fn_ = fn;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t generation = (state_.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
  state_.store((generation << kGenerationShift) | kOpen, std::memory_order_seq_cst);
  wake_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) wake_.notify_all();

  take_pieces(0);
  // Closed: whoever is not inside by now has nothing left to do and is not waited for.
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  for (int spins = 0; (state_.load(std::memory_order_acquire) & kInsideMask) != 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::
          yield();  // a worker was descheduled inside its piece; let it have this core
    }
  }
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::work(int index) {
  uint64_t seen = 0;  // generation of the last loop this worker took part in or was left out of
  int spins = 0;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const int ticket = wake_.load(std::memory_order_seq_cst);
    uint64_t state = state_.load(std::memory_order_seq_cst);
    const bool open = (state & kOpen) != 0 && (state >> kGenerationShift) != seen;
    if (!open) {
      if (++spins < kSpins) {
        pause();
        continue;
      }
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(ticket, std::memory_order_seq_cst);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      spins = 0;
      continue;
    }
    // The generation is part of the word, so entering succeeds only while this very loop is open.
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
    seen = state >> kGenerationShift;
    if (index < limit_) take_pieces(index);
    state_.fetch_sub(1, std::memory_order_release);
    spins = 0;
  }
}

}  // namespace intaglio
