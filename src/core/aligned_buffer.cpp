#include "core/aligned_buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace intaglio {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLeastHuge = 2 * kHugePage;

}  // namespace

Expected<AlignedBuffer> AlignedBuffer::allocate(size_t bytes) {
  if (bytes == 0) return AlignedBuffer{};
  const size_t alignment = bytes >= kLeastHuge ? kHugePage : kCacheLine;
  void* const data = std::aligned_alloc(alignment, align_up(bytes, alignment));
  if (data == nullptr)
    return make_error(ErrorCode::kOutOfMemory, "the system refused {} bytes of memory", bytes);
#if defined(__linux__)
  // Whole ones: the last piece of a page takes small pages. A wish, whose refusal harms nothing.
  if (bytes >= kLeastHuge) ::madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return adopt(data, bytes, std::free);
}

}  // namespace intaglio
