// `intaglio bench linear --device cuda`, in a build with CUDA.
#pragma once

#include <string>
#include <vector>

#include "bench/bench_linear_case.h"

namespace intaglio::cli {

struct CudaLinearFlags {
  int ordinal = 0;
  int rounds = 7;
  std::vector<std::string> precisions;  // of cuda_linear_precisions(), int8 always runs
  std::string json;
  bool protocol = false;  // whether the geometric mean against bf16 is printed
};

inline const std::vector<std::string>& cuda_linear_precisions() {
  static const std::vector<std::string> names{"int8",         "int8-convrot", "bf16", "fp8",
                                              "int8-dequant", "nf4",          "q8_0"};
  return names;
}

// True if there is a device.
bool cuda_device_present();

// Checks, times and prints every shape. False if our own product, or a baseline, was wrong. Errors:
// kNotFound without such a device, kOutOfMemory if no shape fits.
Expected<bool> run_linear_cuda(const CudaLinearFlags& flags,
                               const std::vector<LinearShape>& shapes);

}  // namespace intaglio::cli
