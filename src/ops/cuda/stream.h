// The engine's stream as the launchers take it.
#pragma once

#include <cuda_runtime_api.h>

#include "core/context.h"

namespace intaglio::cuda {

inline cudaStream_t stream_of(const Context& context) {
  return static_cast<cudaStream_t>(context.stream);
}

}  // namespace intaglio::cuda
