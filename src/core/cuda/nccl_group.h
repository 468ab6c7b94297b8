// core/collective.h by NCCL, which is loaded from libnccl.so.2 when it is first asked for.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <span>
#include <string>

#include "core/collective.h"

namespace intaglio::cuda {

// The few functions in use, by the ABI of NCCL 2 (nccl.h), where results and data types are enums
// and sizes of ncclInt8 are bytes.
struct NcclLibrary {
  using Communicator = struct ncclComm*;
  const char* (*error_string)(int result) = nullptr;
  int (*init_all)(Communicator* communicators, int count, const int* devices) = nullptr;
  int (*destroy)(Communicator) = nullptr;
  int (*abort)(Communicator) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*send)(const void* data, size_t count, int type, int to, Communicator,
              cudaStream_t) = nullptr;
  int (*receive)(void* data, size_t count, int type, int from, Communicator,
                 cudaStream_t) = nullptr;
  std::string problem{};  // not empty: unusable
};
const NcclLibrary& nccl_library();

// Of GPUs that differ. kUnsupported, with what was looked for, where there is no NCCL; kDevice for
// what it says. The library outlives the group.
Expected<std::unique_ptr<CollectiveGroup>> make_nccl_group(
    std::span<const Context* const> contexts, const NcclLibrary& library = nccl_library());

}  // namespace intaglio::cuda
