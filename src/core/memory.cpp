#include "core/memory.h"

#include <cstring>

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device_memory.h"
#include "core/cuda/staged_copy.h"
#endif

namespace intaglio {

Expected<AlignedBuffer> allocate(const Context& context, size_t bytes) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::allocate_device_memory(bytes);
#endif
  return AlignedBuffer::allocate(bytes);
}

Status copy_in(const Context& context, void* target, const void* host, size_t bytes) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr && bytes >= cuda::kStagedCopyBytes)
    return cuda::copy_staged(context, target, host, bytes);
  if (context.gpu != nullptr) return cuda::copy_to_device(target, host, bytes, context.stream);
#endif
  return copy_inside(context, target, host, bytes);
}

Status copy_out(const Context& context, void* host, const void* source, size_t bytes) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::copy_from_device(host, source, bytes, context.stream);
#endif
  return copy_inside(context, host, source, bytes);
}

Status copy_inside(const Context& context, void* target, const void* source, size_t bytes) {
  return copy_inside(context, target, source, {bytes, 1, bytes, bytes});
}

Status copy_inside(const Context& context, void* target, const void* source, const StridedCopy& s) {
  if (s.bytes == 0 || s.rows == 0) return {};
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::copy_on_device(target, source, s, context.stream);
#endif
  for (size_t row = 0; row < s.rows; ++row) {
    std::memcpy(static_cast<std::byte*>(target) + row * s.target_stride,
                static_cast<const std::byte*>(source) + row * s.source_stride, s.bytes);
  }
  return {};
}

Status fill_zero(const Context& context, void* target, size_t bytes) {
  if (bytes == 0) return {};
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::fill_device_memory(target, bytes, context.stream);
#endif
  std::memset(target, 0, bytes);
  return {};
}

Status synchronize(const Context& context) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::synchronize_stream(context.stream);
#endif
  return {};
}

Expected<AlignedBuffer> upload(const Context& context, std::span<const float> values) {
  INTAGLIO_ASSIGN(AlignedBuffer buffer, allocate(context, values.size_bytes()));
  INTAGLIO_TRY(copy_in(context, buffer.data(), values.data(), values.size_bytes()));
  return buffer;
}

}  // namespace intaglio
