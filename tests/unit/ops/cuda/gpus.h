// Made-up devices with the numbers of real cards.
#pragma once

#include "core/cuda_device.h"

namespace intaglio::cuda {

inline CudaDevice rtx_3090() {
  return {0, "NVIDIA GeForce RTX 3090", 86, 82, 101376, 6 << 20, int64_t{24} << 30, 12040};
}
inline CudaDevice h100() {
  return {0, "NVIDIA H100 80GB HBM3", 90, 132, 232448, 50 << 20, int64_t{80} << 30, 13000};
}
inline CudaDevice a100() {
  return {0, "NVIDIA A100-SXM4-40GB", 80, 108, 166912, 40 << 20, int64_t{40} << 30, 12040};
}
inline CudaDevice tesla_t4() {
  return {0, "Tesla T4", 75, 40, 65536, 4 << 20, int64_t{16} << 30, 12040};
}

}  // namespace intaglio::cuda
