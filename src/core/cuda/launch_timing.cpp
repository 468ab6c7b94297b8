#include "core/cuda/launch_timing.h"

#include <cuda_runtime_api.h>

#include "core/cuda/device.h"

namespace intaglio::cuda {
namespace {

class Event {
 public:
  Event() : status_(device_status(cudaEventCreate(&event_), "cudaEventCreate")) {}
  ~Event() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Status record() const {
    if (!status_) return status_;
    return device_status(cudaEventRecord(event_), "cudaEventRecord");
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
  Status status_;
};

}  // namespace

Expected<double> launch_time_ms(const std::function<Status()>& launch, int launches) {
  const Event begin, end;
  INTAGLIO_TRY(begin.record());
  for (int i = 0; i < launches; ++i) INTAGLIO_TRY(launch());
  INTAGLIO_TRY(end.record());
  INTAGLIO_TRY(device_status(cudaEventSynchronize(end.get()), "timed launches"));
  float ms = 0.0f;
  INTAGLIO_TRY(
      device_status(cudaEventElapsedTime(&ms, begin.get(), end.get()), "cudaEventElapsedTime"));
  return double{ms} / launches;
}

}  // namespace intaglio::cuda
