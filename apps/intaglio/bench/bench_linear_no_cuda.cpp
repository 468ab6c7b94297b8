// Stands in for apps/intaglio/bench/cuda/bench_linear_cuda.cpp in a build without CUDA.
#include "bench/bench_linear_cuda.h"

namespace intaglio::cli {

bool cuda_device_present() { return false; }

Expected<bool> run_linear_cuda(const CudaLinearFlags& flags, const std::vector<LinearShape>&) {
  return make_error(ErrorCode::kUnsupported,
                    "cuda:{}: this build has no CUDA; --device cpu runs on the CPU", flags.ordinal);
}

}  // namespace intaglio::cli
