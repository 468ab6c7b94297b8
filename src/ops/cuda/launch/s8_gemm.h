// The int8 product on a GPU: one launcher for every kernel family, and the choice among them.
#pragma once

#include <cstddef>
#include <span>

#include "core/status.h"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tuning/s8_gemm_choice.h"
#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {

// True if this build holds the kernel that `choice` names.
bool has_s8_gemm_config(S8GemmFamily family, const std::string& config);

// Device memory that `choice` needs for `p`, whose pointers may be null. 0 for a kernel that is not
// there.
size_t s8_gemm_workspace_bytes(const S8GemmParams& p, const S8GemmChoice& choice);

// Runs `choice` on `device`, which is current. No allocation, no synchronisation, capturable.
// kUnsupported with the kernel's reason if it refuses, kDevice if the launch fails.
Status launch_s8_gemm(const S8GemmParams& p, const S8GemmChoice& choice, const CudaDevice& device,
                      void* workspace, void* stream);

// The kernel for `p` on `device`: what was tuned here, shipped for the card, or else the
// heuristic's. The same sizes and alignment give the same answer for the life of the process.
// kUnsupported if no kernel takes them.
Expected<S8GemmChoice> choose_s8_gemm(const S8GemmParams& p, const CudaDevice& device);

// Enough for whatever choose_s8_gemm may answer for these sizes and strides, however the pointers
// are aligned.
Expected<size_t> s8_gemm_workspace_bound(const S8GemmParams& p, const CudaDevice& device);

}  // namespace intaglio::cuda
