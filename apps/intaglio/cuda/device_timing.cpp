#include "device_timing.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "../interrupt.h"
#include "core/cuda/device.h"

namespace intaglio::cli {
namespace {

using cuda::device_status;

constexpr double kBurstMs = 2.0;
constexpr int kLeastLaunches = 4, kMostLaunches = 64;

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

Expected<double> device_time_ms(const std::function<Status()>& launch, int launches) {
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

Status time_interleaved(std::vector<DeviceCandidate>& candidates, int rounds) {
  std::vector<int> bursts;
  for (const DeviceCandidate& candidate : candidates) {
    INTAGLIO_TRY(candidate.launch());
    INTAGLIO_ASSIGN(const double once, device_time_ms(candidate.launch, kLeastLaunches));
    bursts.push_back(std::clamp(static_cast<int>(kBurstMs / std::max(once, 1e-3)), kLeastLaunches,
                                kMostLaunches));
  }
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
      INTAGLIO_TRY(candidates[i].launch());
      INTAGLIO_ASSIGN(const double ms, device_time_ms(candidates[i].launch, bursts[i]));
      candidates[i].times_ms.push_back(ms);
    }
  }
  return {};
}

}  // namespace intaglio::cli
