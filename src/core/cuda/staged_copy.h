// Large copies from pageable host memory to a device, by way of pinned memory.
//
// The driver copies pageable memory with one thread through a buffer of its own, at 5 GB/s on an
// H200 (bench load with a packed cache): here the caller's threads fill pieces of pinned memory
// while the pieces before them are on their way.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "core/context.h"
#include "core/status.h"

namespace intaglio::cuda {

// From so many bytes on it pays.
inline constexpr size_t kStagedCopyBytes = size_t{4} << 20;

// Of a device: one more, or one fewer, who will copy much. The pinned memory, 24 MiB, is taken at
// the first large copy and goes with the last of them.
void begin_staged_copies(int ordinal);
void end_staged_copies(int ordinal);

// Makes bytes [at, at + out.size()) of what is copied. Called by one thread, which may use others.
using MakeBytes = std::function<Status(size_t at, std::span<std::byte> out)>;

// Runs of `unit` bytes, their starts `stride` bytes apart.
struct StagedTarget {
  void* data = nullptr;
  size_t unit = 1, stride = 1;
};

// Copies what is made right where the device reads it, in pieces of whole units but for the last.
// In the order of context.stream. By way of memory of its own where nobody has begun.
Status make_staged(const Context& context, const StagedTarget& target, size_t bytes,
                   const MakeBytes& make);

// In the order of context.stream; `host` has been read when it returns. By the driver where nobody
// has begun. kCancelled when the caller has asked to stop: what `target` holds is then undefined.
Status copy_staged(const Context& context, void* target, const void* host, size_t bytes);

}  // namespace intaglio::cuda
