#include "measured_peak.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "bench/spread.h"
#include "core/cuda/device.h"
#include "core/cuda/device_buffer.h"
#include "core/cuda/launch_timing.h"
#include "device_timing.h"
#include "ops/cuda/launch/tensor_peak.h"

namespace intaglio::cli {
namespace {

using cuda::device_status;
using cuda::TensorPeakLaunch;

constexpr int kHopper = 90;
constexpr int kFirstIterations = 1000, kMostIterations = 10'000'000;
constexpr double kLaunchMs = 5.0;
constexpr int kWarmUp = 20, kRounds = 9;
constexpr int kPoison = 0xa5;

struct Probe {
  const char* name;
  cudaError_t (*launch)(const TensorPeakLaunch&);
  double (*operations)(const TensorPeakLaunch&);
};

// 1e12 operations a second.
Expected<double> measure(const Probe& probe, TensorPeakLaunch l, std::vector<double>& times_ms) {
  const auto launch = [&]() -> Status { return device_status(probe.launch(l), probe.name); };
  l.iterations = kFirstIterations;
  INTAGLIO_TRY(device_status(cudaMemset(l.sink, kPoison, sizeof(int32_t)), "cudaMemset"));
  INTAGLIO_TRY(launch());
  int32_t first = 0;
  INTAGLIO_TRY(
      device_status(cudaMemcpy(&first, l.sink, sizeof first, cudaMemcpyDeviceToHost), probe.name));
  if (first == static_cast<int32_t>(0xa5a5a5a5u))
    return make_error(ErrorCode::kUnsupported, "this build has no such kernel for the device");
  INTAGLIO_ASSIGN(const double once, cuda::launch_time_ms(launch, 1));
  l.iterations = std::clamp(static_cast<int>(kFirstIterations * kLaunchMs / std::max(once, 1e-3)),
                            1, kMostIterations);
  INTAGLIO_ASSIGN([[maybe_unused]] const double warm, cuda::launch_time_ms(launch, kWarmUp));
  for (int round = 0; round < kRounds; ++round) {
    INTAGLIO_ASSIGN(const double ms, cuda::launch_time_ms(launch, 1));
    times_ms.push_back(ms);
  }
  return probe.operations(l) / spread_of(times_ms).median * 1e-9;
}

}  // namespace

Expected<MeasuredPeaks> measure_peaks(const CudaDevice& device) {
  MeasuredPeaks peaks;
  INTAGLIO_ASSIGN(
      const cuda::DeviceBuffer sink,
      cuda::DeviceBuffer::allocate(cuda::tensor_peak_sink_bytes(device.multiprocessors)));
  const TensorPeakLaunch launch{.multiprocessors = device.multiprocessors,
                                .sink = sink.as<int32_t>()};
  const auto run = [&](const Probe& probe, double& tops, std::vector<double>& times_ms) {
    const Expected<double> rate = measure(probe, launch, times_ms);
    if (rate) {
      tops = *rate;
      return;
    }
    cudaGetLastError();
    times_ms.clear();
    peaks.not_run.push_back(std::string(probe.name) + ": " + rate.error().message);
  };
  run({"mma_s8_peak", cuda::mma_s8_peak, cuda::mma_s8_peak_operations}, peaks.mma_tops,
      peaks.mma_times_ms);
  if (device.compute_capability == kHopper) {
    run({"wgmma_s8_peak", cuda::wgmma_s8_peak, cuda::wgmma_s8_peak_operations}, peaks.wgmma_tops,
        peaks.wgmma_times_ms);
  }
  return peaks;
}

}  // namespace intaglio::cli
