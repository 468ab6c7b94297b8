#include "ops/cuda/tuning/peak_rates.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {
namespace {

struct Card {
  std::string_view name;  // a part of the driver's; the first that matches counts
  double int8_tops, fp8_tops, bf16_tops;
};

// NVIDIA's data sheets and architecture white papers, without sparsity.
constexpr Card kCards[] = {
    {"H100 PCIe", 1513, 1513, 756}, {"H100 NVL", 1671, 1671, 835},     {"H100", 1979, 1979, 989},
    {"H200 NVL", 1671, 1671, 835},  {"H200", 1979, 1979, 989},         {"A100", 624, 0, 312},
    {"L40S", 733, 733, 362},        {"NVIDIA L4", 242, 242, 121},      {"RTX 4090 D", 0, 0, 0},
    {"RTX 4090 Laptop", 0, 0, 0},   {"RTX 4090", 660.6, 330.3, 165.2}, {"RTX 3090 Ti", 320, 0, 80},
    {"RTX 3090", 284, 0, 71},       {"Tesla T4", 130, 0, 0},
};

constexpr int kFirstWithBf16 = 80, kFirstWithFp8 = 89, kHopper = 90;

// "NVIDIA L4" names no L40.
bool is_card(std::string_view device, std::string_view name) {
  const size_t at = device.find(name);
  if (at == std::string_view::npos) return false;
  const size_t end = at + name.size();
  return end == device.size() || std::isalnum(static_cast<unsigned char>(device[end])) == 0;
}

// GeForce cards of these generations run products with a float sum at half the rate of the others.
bool half_rate_float_sums(const CudaDevice& device) {
  return device.compute_capability >= 86 && device.compute_capability != kHopper &&
         device.compute_capability != 100 && device.name.find("GeForce") != std::string_view::npos;
}

}  // namespace

PeakRates peak_rates(const CudaDevice& device, double clock_ghz) {
  for (const Card& card : kCards) {
    if (!is_card(device.name, card.name)) continue;
    if (card.int8_tops == 0) break;  // a namesake of other size
    return {card.int8_tops, card.fp8_tops, card.bf16_tops, true};
  }
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
