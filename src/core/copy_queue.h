// Copies from host memory to a GPU beside its compute: a stream of its own, ordered with the
// context's stream by events. The host never waits, so the copies become part of a recorded graph
// together with the work that they are ordered with.
#pragma once

#include <cstddef>
#include <memory>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// Each slot is a place on the device with two marks, set in turns: full, set by the copies, and
// free, set by the compute. A mark must have been set since the last `fork` before anything waits
// for it: a recorded graph may not refer to what happened before it.
class CopyQueue {
 public:
  virtual ~CopyQueue() = default;

  // The copies that follow wait for what the context's stream has been given so far.
  virtual Status fork(const Context& context) = 0;
  // What the context's stream is given from here on waits for all copies.
  virtual Status join(const Context& context) = 0;

  // `host` is pinned and stays as it is until the copy is over.
  virtual Status copy(void* target, const void* host, size_t bytes) = 0;

  virtual Status mark_full(size_t slot) = 0;                          // behind the copies so far
  virtual Status wait_full(const Context& context, size_t slot) = 0;  // the compute waits
  virtual Status mark_free(const Context& context, size_t slot) = 0;  // behind the compute so far
  virtual Status wait_free(size_t slot) = 0;                          // the copies wait
};

// kUnsupported on the CPU, where there is nothing to copy.
Expected<std::unique_ptr<CopyQueue>> make_copy_queue(const Context& context, size_t slots);

// Host memory that a GPU's copy engine reads by itself: it cannot be swapped out. On the CPU, any
// memory.
Expected<AlignedBuffer> allocate_pinned(const Context& context, size_t bytes);

}  // namespace intaglio
