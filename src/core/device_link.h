// Copies from one device's memory to another's, ordered with the work of both: the host waits for
// none of them.
#pragma once

#include <cstddef>
#include <memory>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

class DeviceLink {
 public:
  virtual ~DeviceLink() = default;

  // After all that the one stream has been given so far, and before what the other is given from
  // here on. What is read may change, and what is written be read, behind work that waits for that
  // other stream.
  virtual Status copy(void* target, const void* source, size_t bytes) = 0;

  // What `from`'s stream is given from here on may change what the copies so far have read.
  virtual Status wait_for_reads() = 0;
};

// From `from`'s stream to `to`'s, of two GPUs or of one: by the cards themselves where they reach
// each other's memory, else by way of `most_bytes` of pinned host memory, the most that a copy
// takes. Between two contexts of the CPU a copy is over when the call returns. kUnsupported between
// a CPU and a GPU. What it copies is over when it goes.
Expected<std::unique_ptr<DeviceLink>> make_device_link(const Context& from, const Context& to,
                                                       size_t most_bytes);

// Whether copies between the two go by the cards themselves. Between CPUs they do.
Expected<bool> reach_each_other(const Context& a, const Context& b);

}  // namespace intaglio
