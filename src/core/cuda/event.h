// Order between streams: what follows `wait` on one stream follows what came before `record` on
// another.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/cuda/device.h"
#include "core/status.h"

namespace intaglio::cuda {

class Event {
 public:
  static Expected<Event> make() {
    cudaEvent_t event = nullptr;
    // Without times an event is only an order, which is cheaper to wait for.
    INTAGLIO_TRY(device_status(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                               "cudaEventCreateWithFlags"));
    return Event(event);
  }

  Status record(void* stream) const {
    return device_status(cudaEventRecord(event_.get(), static_cast<cudaStream_t>(stream)),
                         "cudaEventRecord");
  }
  Status wait(void* stream) const {
    return device_status(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), event_.get(), 0),
                         "cudaStreamWaitEvent");
  }

 private:
  explicit Event(cudaEvent_t event) : event_(event, cudaEventDestroy) {}
  std::unique_ptr<CUevent_st, cudaError_t (*)(cudaEvent_t)> event_;
};

}  // namespace intaglio::cuda
