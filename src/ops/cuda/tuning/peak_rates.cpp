#include "ops/cuda/tuning/peak_rates.h"

#include <algorithm>

#include "ops/cuda/tuning/cards.h"
#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {
namespace {

constexpr int kFirstWithBf16 = 80, kFirstWithFp8 = 89, kHopper = 90;

// GeForce cards of these generations run products with a float sum at half the rate of the others.
bool half_rate_float_sums(const CudaDevice& device) {
  return device.compute_capability >= 86 && device.compute_capability != kHopper &&
         device.compute_capability != 100 && device.name.find("GeForce") != std::string_view::npos;
}

}  // namespace

PeakRates peak_rates(const CudaDevice& device, double clock_ghz) {
  if (const Card* const card = find_card(device.name))
    return {card->int8_tops, card->fp8_tflops, card->bf16_tflops, true};
  PeakRates rates;
  const GpuArch* const arch = gpu_arch(device.compute_capability);
  if (arch == nullptr) return rates;
  constexpr double kOperationsOfMac = 2.0;
  rates.int8_tops = kOperationsOfMac *
                    std::max(arch->mma_macs_per_clock, arch->wgmma_macs_per_clock) *
                    device.multiprocessors * clock_ghz * 1e-3;
  const double share = half_rate_float_sums(device) ? 0.5 : 1.0;
  if (device.compute_capability >= kFirstWithBf16) rates.bf16_tops = rates.int8_tops / 2 * share;
  if (device.compute_capability >= kFirstWithFp8) rates.fp8_tops = rates.int8_tops * share;
  return rates;
}

}  // namespace intaglio::cuda
