// Memory of last resort for destructors.
//
// A destructor that allocates ends the process by std::terminate when there is no memory: those of
// JSON values do, and the iterators of folders. So the program's operator new has a few MiB of its
// own, which take no memory until they are used. When the system refuses a small request they serve
// it: the first ones, so that the process does not end where nothing can be caught, and, after one
// std::bad_alloc, all that come while it is on its way to where it becomes an error and that is
// told.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>

#include "core/sanitizers.h"

// Sanitizers have an operator new of their own.
#if !defined(INTAGLIO_SANITIZED)

namespace {

constexpr size_t kLargestRequest = size_t{64} << 10;
constexpr size_t kBefore = size_t{128} << 10;  // of the pool, before the first bad_alloc
constexpr size_t kAlignment = alignof(std::max_align_t);

alignas(kAlignment) std::byte pool[size_t{16} << 20];
std::atomic<size_t> taken{0};
std::atomic<bool> has_thrown{false};

// nullptr if there is none for this request. What is given back stays taken: the process is about
// to end.
void* take_last(size_t size) noexcept {
  if (size > kLargestRequest) return nullptr;
  // A JSON value's destructor asks for 16 bytes a member: such requests are never the first to be
  // refused.
  const size_t limit = has_thrown.load() || size % 16 == 0 ? sizeof(pool) : kBefore;
  size = (size + kAlignment - 1) / kAlignment * kAlignment;
  size_t begin = taken.load(std::memory_order_relaxed);
  do {
    if (begin + size > limit) return nullptr;
  } while (!taken.compare_exchange_weak(begin, begin + size));
  return pool + begin;
}

bool is_last(const void* memory) noexcept {
  const auto* const bytes = static_cast<const std::byte*>(memory);
  return !std::less<>()(bytes, pool) && std::less<>()(bytes, pool + sizeof(pool));
}

void* allocate(size_t size) noexcept {
  if (size == 0) size = 1;
  void* const memory = std::malloc(size);
  return memory != nullptr ? memory : take_last(size);
}

void release(void* memory) noexcept {
  if (!is_last(memory)) std::free(memory);
}

}  // namespace

void* operator new(size_t size) {
  if (void* const memory = allocate(size)) return memory;
  has_thrown.store(true);
  throw std::bad_alloc();
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, size_t) noexcept { release(memory); }
void operator delete[](void* memory, size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }

#endif
