// What the oneDNN ops share: engine, thread count, primitive cache.
#pragma once

#include <array>
#include <cstdint>
#include <dnnl.hpp>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace intaglio::onednn {

inline dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& cpu_stream() {
  static thread_local dnnl::stream stream(cpu_engine());
  return stream;
}

inline dnnl::memory::data_type data_type(DType dtype) {
  return dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

// oneDNN takes its threads from OpenMP's count for the calling thread, both when a primitive is
// made and when it runs.
class ThreadCount {
 public:
#if defined(_OPENMP)
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads < 1 ? 1 : threads);
  }
  ~ThreadCount() { omp_set_num_threads(before_); }
#else
  explicit ThreadCount(int) {}
#endif
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  [[maybe_unused]] int before_ = 1;
};

// The last `kCapacity` primitives used, by shape. Thread-safe; entries are shared, so one in use
// outlives its eviction.
template <typename Entry, size_t kKeySize>
class PrimitiveCache {
 public:
  using Key = std::array<int64_t, kKeySize>;

  // Throws what `make` throws.
  template <typename Make>
  std::shared_ptr<const Entry> get(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(key); found != entries_.end()) {
      order_.splice(order_.begin(), order_, found->second.position);
      return found->second.entry;
    }
    auto entry = std::make_shared<const Entry>(make());
    if (entries_.size() >= kCapacity) {
      entries_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    entries_.emplace(key, Slot{entry, order_.begin()});
    return entry;
  }

 private:
  static constexpr size_t kCapacity = 128;
  struct Slot {
    std::shared_ptr<const Entry> entry;
    typename std::list<Key>::iterator position;
  };
  std::mutex mutex_;
  std::list<Key> order_;
  std::map<Key, Slot> entries_;
};

// Working memory of one call: from the arena if it was planned there, else its own.
class Scratchpad {
 public:
  Status reserve(const Context& context, size_t bytes) {
    if (bytes == 0) return {};
    if (context.scratch != nullptr &&
        bytes <= context.scratch->capacity() - context.scratch->used()) {
      scope_.emplace(*context.scratch);
      auto taken = context.scratch->take<std::byte>(static_cast<int64_t>(bytes));
      if (taken) {
        data_ = *taken;
        return {};
      }
      scope_.reset();
    }
    INTAGLIO_ASSIGN(owned_, AlignedBuffer::allocate(bytes));
    data_ = owned_.data();
    return {};
  }
  void* data() const { return data_; }

 private:
  std::optional<Arena::Scope> scope_;
  AlignedBuffer owned_;
  void* data_ = nullptr;
};

inline dnnl::memory memory_at(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, cpu_engine(), const_cast<void*>(data));
}

// Runs `body`, turning what oneDNN throws into a Status.
template <typename Body>
Status guarded(const char* what, Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    return make_error(ErrorCode::kInternal, "{}: oneDNN status {}: {}", what,
                      static_cast<int>(error.status), error.message);
  } catch (const std::exception& error) {
    return make_error(ErrorCode::kInternal, "{}: {}", what, error.what());
  }
}

}  // namespace intaglio::onednn
