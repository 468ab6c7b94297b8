// What ops need to know of an NVIDIA GPU. Plain numbers: no CUDA header, so host code and tests can
// make one up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace intaglio {

struct CudaDevice {
  int ordinal = 0;
  std::string name;            // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;  // 10 * major + minor: 75, 80, 86, 89, 90, 100, 120
  int multiprocessors = 0;
  int shared_bytes_per_block = 0;  // the most a block may take with opt-in
  int64_t l2_bytes = 0;
  int64_t memory_bytes = 0;
  int driver_version = 0;  // of the CUDA driver, 1000 * major + 10 * minor
};

}  // namespace intaglio
