// Streams, events and recorded graphs of the current device. Streams are cudaStream_t, events
// cudaEvent_t, behind void*.
#pragma once

#include <functional>
#include <memory>

#include "core/cuda/device_memory.h"
#include "core/status.h"

namespace intaglio::cuda {

// Makes `ordinal` the thread's current device.
Status use_device(int ordinal);

// A stream that does not wait for the default one; freed with its last holder.
Expected<std::shared_ptr<void>> make_stream();

// nullptr if the device refuses.
void* record_event(void* stream);
Expected<double> elapsed_ms(void* begin, void* end);
void free_event(void* event);
// Whether the device is past the event. True as well if that cannot be told: the error shows at the
// next call that waits.
bool has_happened(void* event);

// Whether work that is put on the stream is only recorded.
bool is_recording(void* stream);

// Work recorded once and given to the device again with one call.
class Graph {
 public:
  Graph() = default;
  // Runs `work`, which puts its work on `stream` and neither allocates nor waits, without executing
  // it.
  static Expected<Graph> record(void* stream, const std::function<Status()>& work);
  Status launch(void* stream) const;

 private:
  std::shared_ptr<void> executable_;
};

}  // namespace intaglio::cuda
