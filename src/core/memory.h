// Memory of a context's device and the copies to and from it. On the CPU these are malloc and
// memcpy, so model code is the same for both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// Uninitialised memory of the context's device, aligned to 64 bytes at least. kOutOfMemory with the
// size.
Expected<AlignedBuffer> allocate(const Context& context, size_t bytes);

// Copies are ordered with the context's other work. `copy_in` has read `host` when it returns;
// after `copy_out` the data is there.
Status copy_in(const Context& context, void* target, const void* host, size_t bytes);
Status copy_out(const Context& context, void* host, const void* source, size_t bytes);
// Inside the device's memory; no overlap.
Status copy_inside(const Context& context, void* target, const void* source, size_t bytes);
Status fill_zero(const Context& context, void* target, size_t bytes);

// `rows` runs of `bytes` bytes, their starts `target_stride` and `source_stride` bytes apart.
struct StridedCopy {
  size_t bytes = 0, rows = 0, target_stride = 0, source_stride = 0;
};
Status copy_inside(const Context& context, void* target, const void* source,
                   const StridedCopy& shape);

// Waits for everything the context has been given. Reports what failed since.
Status synchronize(const Context& context);

// The values in new memory of the device. No values, no memory.
Expected<AlignedBuffer> upload(const Context& context, std::span<const float> values);

}  // namespace intaglio
