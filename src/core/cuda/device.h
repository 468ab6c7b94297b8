// The NVIDIA GPUs of this process. Asked for once and kept, so that later calls touch no driver and may run while a stream is captured.
#pragma once

#include "core/cuda_device.h"
#include "core/status.h"

namespace intaglio::cuda {

// kNotFound if there is no such device, kDevice if the runtime fails.
Expected<const CudaDevice*> find_device(int ordinal);

// "cudaMemcpyAsync: out of memory" as ErrorCode::kDevice; success for 0. `status` is a cudaError_t.
Status device_status(int status, const char* call);

}  // namespace intaglio::cuda
