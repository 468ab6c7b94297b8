#include "core/copy_queue.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/copy_queue.h"
#include "core/cuda/device_memory.h"
#endif

namespace intaglio {

Expected<std::unique_ptr<CopyQueue>> make_copy_queue([[maybe_unused]] const Context& context,
                                                     [[maybe_unused]] size_t slots) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::make_copy_queue(slots);
#endif
  return make_error(ErrorCode::kUnsupported, "a copy queue needs a GPU");
}

Expected<AlignedBuffer> allocate_pinned([[maybe_unused]] const Context& context, size_t bytes) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::allocate_pinned_memory(bytes);
#endif
  return AlignedBuffer::allocate(bytes);
}

}  // namespace intaglio
