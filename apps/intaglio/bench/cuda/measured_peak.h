// The rate of the int8 tensor cores alone, measured in this run.
#pragma once

#include <string>
#include <vector>

#include "core/cuda_device.h"
#include "core/status.h"

namespace intaglio::cli {

struct MeasuredPeaks {
  double mma_tops = 0, wgmma_tops = 0;  // medians, 1e12 operations a second; 0: not measured
  std::vector<double> mma_times_ms, wgmma_times_ms;
  std::vector<std::string> not_run;

  double best() const { return mma_tops > wgmma_tops ? mma_tops : wgmma_tops; }
};

// On the current device, after a tenth of a second of the same work: what the power limit leaves of
// the clock is part of the figure.
Expected<MeasuredPeaks> measure_peaks(const CudaDevice& device);

}  // namespace intaglio::cli
