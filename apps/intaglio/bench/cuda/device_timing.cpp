#include "device_timing.h"

#include <algorithm>

#include "core/cuda/launch_timing.h"
#include "interrupt.h"

namespace intaglio::cli {
namespace {

constexpr double kBurstMs = 2.0;
constexpr int kLeastLaunches = 4, kMostLaunches = 64;

}  // namespace

Status time_interleaved(std::vector<DeviceCandidate>& candidates, int rounds) {
  std::vector<int> bursts;
  for (const DeviceCandidate& candidate : candidates) {
    INTAGLIO_TRY(candidate.launch());
    INTAGLIO_ASSIGN(const double once, cuda::launch_time_ms(candidate.launch, kLeastLaunches));
    bursts.push_back(std::clamp(static_cast<int>(kBurstMs / std::max(once, 1e-3)), kLeastLaunches,
                                kMostLaunches));
  }
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
      INTAGLIO_TRY(candidates[i].launch());
      INTAGLIO_ASSIGN(const double ms, cuda::launch_time_ms(candidates[i].launch, bursts[i]));
      candidates[i].times_ms.push_back(ms);
    }
  }
  return {};
}

}  // namespace intaglio::cli
