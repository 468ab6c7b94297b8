// Device memory and copies behind core/memory.h. `stream` is a cudaStream_t; all work is put on it.
#pragma once

#include <cstddef>

#include "core/aligned_buffer.h"
#include "core/memory.h"
#include "core/status.h"

namespace intaglio::cuda {

// On the current device. kOutOfMemory with the size if there is not enough.
Expected<AlignedBuffer> allocate_device_memory(size_t bytes);
// Memory of the host that the copy engine reads and writes by itself; `bytes` of it count against
// the machine's.
Expected<AlignedBuffer> allocate_pinned_memory(size_t bytes);

// Returns when `host` has been read; the copy itself may still be under way if `host` is pinned.
Status copy_to_device(void* target, const void* host, size_t bytes, void* stream);
// The same of runs of `unit` bytes, of which the last may be shorter, their places `stride` bytes
// apart.
Status copy_to_device(void* target, size_t stride, const void* host, size_t unit, size_t bytes,
                      void* stream);
// Waits for the data.
Status copy_from_device(void* host, const void* source, size_t bytes, void* stream);
Status copy_on_device(void* target, const void* source, const StridedCopy& shape, void* stream);
Status fill_device_memory(void* target, size_t bytes, void* stream);
Status synchronize_stream(void* stream);

// Free and total bytes of the current device.
struct DeviceMemoryInfo {
  size_t free = 0, total = 0;
};
Expected<DeviceMemoryInfo> device_memory_info();

}  // namespace intaglio::cuda
