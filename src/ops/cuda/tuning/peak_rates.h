// What a GPU does at most a second, dense, by its data sheet: what measured rates are held against.
#pragma once

#include "core/cuda_device.h"

namespace intaglio::cuda {

// 1e12 operations a second; 0: not supported or not known.
struct PeakRates {
  double int8_tops = 0, fp8_tops = 0, bf16_tops = 0;
  bool data_sheet = false;  // else multiprocessors x clock x operations a clock of the architecture
};

// By the device's name, as the driver reports it; for a card that is not known, from its size and
// `clock_ghz`. bf16 and fp8 accumulate in float.
PeakRates peak_rates(const CudaDevice& device, double clock_ghz);

}  // namespace intaglio::cuda
