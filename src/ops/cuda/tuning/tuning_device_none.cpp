// Stands in for the CUDA implementation of tuning_device.h where there is no CUDA.
#ifndef INTAGLIO_HAS_CUDA
#include "ops/cuda/tuning/tuning_device.h"

namespace intaglio::cuda {

Expected<std::unique_ptr<TuningDevice>> open_tuning_device(int ordinal) {
  return make_error(ErrorCode::kUnsupported,
                    "cuda:{}: this build has no CUDA, so there is nothing to tune", ordinal);
}

}  // namespace intaglio::cuda
#endif
