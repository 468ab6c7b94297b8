#include "core/thread_pool.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/control_group.h"
#include "core/memory_info.h"

namespace intaglio {
namespace {

// Address space of a thread's stack. The system's default (8 MiB) would be most of what a process
// with many threads and a limit on it needs.
constexpr size_t kStackBytes = size_t{2} << 20;
constexpr int kMaxWorkers = 1023;
// About 50 to 150 us of waiting: longer than the serial code between two loops of a forward pass,
// shorter than anybody would notice on an idle machine.
constexpr int kSpins = 3000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  sched_yield();
#endif
}

// Every limit that there is, since the system does not say which one it was.
std::string thread_limits() {
  std::string text;
  if (const auto threads = control_group_limits().threads)
    text += fmt::format("; the control group allows {} threads at once (pids.max)", *threads);
  rlimit limit{};
  if (getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    text +=
        fmt::format("; this user may have {} threads and processes (ulimit -u)", limit.rlim_cur);
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    text += fmt::format("; this process may have {} of address space (ulimit -v)",
                        format_bytes(limit.rlim_cur));
  }
  return text;
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
  for (const pthread_t worker : workers_) pthread_join(worker, nullptr);
}

int ThreadPool::grow(int workers) {
  const std::lock_guard lock(growing_);
  try {
    workers_.reserve(static_cast<size_t>(std::max(workers, 0)));
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes); error != 0) return error;
  int error = pthread_attr_setstacksize(&attributes, kStackBytes);
  while (error == 0 && static_cast<int>(workers_.size()) < workers) {
    pthread_t thread{};
    error = pthread_create(
        &thread, &attributes,
        [](void* self) -> void* {
          auto* const pool = static_cast<ThreadPool*>(self);
          pool->work(pool->next_index_.fetch_add(1));
          return nullptr;
        },
        this);
    if (error == 0) workers_.push_back(thread);
  }
  pthread_attr_destroy(&attributes);
  started_.store(static_cast<int>(workers_.size()));
  may_not_grow_.store(error != 0);
  return error;
}

Status ThreadPool::start(int threads) {
  const int workers = std::min(threads - 1, kMaxWorkers);
  if (started_.load() >= workers) return {};
  const int error = grow(workers);
  if (error == 0) return {};
  return make_error(ErrorCode::kUnsupported, "thread {} of {} cannot start: {}{}",
                    started_.load() + 2, threads, std::strerror(error), thread_limits());
}

void ThreadPool::take_pieces(int thread) {
  try {
    for (int64_t piece = next_.fetch_add(1, std::memory_order_relaxed); piece < pieces_;
         piece = next_.fetch_add(1, std::memory_order_relaxed)) {
      fn_(context_, piece, thread);
    }
  } catch (...) {
    next_.store(pieces_, std::memory_order_relaxed);
    // Read by the caller after this thread has left the loop.
    if (!failed_.exchange(true)) failure_ = std::current_exception();
  }
}

void ThreadPool::run(int threads, int64_t pieces, PieceFunction fn, void* context) {
  if (threads <= 1 || pieces <= 1 || busy_.exchange(true, std::memory_order_acquire)) {
    for (int64_t piece = 0; piece < pieces; ++piece) fn(context, piece, 0);
    return;
  }
  if (started_.load() < std::min(threads - 1, kMaxWorkers) && !may_not_grow_.load())
    (void)grow(std::min(threads - 1, kMaxWorkers));  // with fewer the loop is slower, not wrong
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
      sched_yield();  // a worker was descheduled inside its piece; let it have this core
    }
  }
  if (!failed_.load()) {
    busy_.store(false, std::memory_order_release);
    return;
  }
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  failed_.store(false);
  busy_.store(false, std::memory_order_release);
  std::rethrow_exception(failure);
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
