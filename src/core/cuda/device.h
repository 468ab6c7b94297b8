// The NVIDIA GPUs of this process. Asked for once and kept, so that later calls touch no driver and
// may run while a stream is captured.
#pragma once

#include <string>

#include "core/cuda_device.h"
#include "core/status.h"

namespace intaglio::cuda {

// kNotFound if there is no such device, kDevice if the runtime fails.
Expected<const CudaDevice*> find_device(int ordinal);

// Why there is none, in words, from cudaDriverGetVersion's answer (0: no driver) and the version
// of the runtime.
std::string why_no_device(int driver_version, int runtime_version);

// Whether wgmma kernels may run: compute capability 9.0, unless INTAGLIO_GPU_ISA=sm80 keeps the
// process to what consumer Ampere has, for comparisons.
bool may_use_wgmma(const CudaDevice& device);

// "cudaMemcpyAsync: out of memory" as ErrorCode::kDevice; success for 0. `status` is a cudaError_t.
Status device_status(int status, const char* call);

}  // namespace intaglio::cuda
