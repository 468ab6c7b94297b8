// What the C interface's linear asks of a GPU: its driver, the row quantizer and the int8 product
// (ops/cuda/launch/int8_linear.h), behind an interface so that tests can make up devices and
// pointers.
#pragma once

#include "core/status.h"
#include "ops/cuda/launch/int8_linear.h"

namespace intaglio::abi {

class DeviceQueries {
 public:
  virtual ~DeviceQueries() = default;
  virtual Expected<int> current_device() const = 0;
  virtual Expected<cuda::MemoryInfo> memory_info(const void* pointer) const = 0;
  virtual Expected<int> stream_device(void* stream) const = 0;
};

class Int8Device : public DeviceQueries {
 public:
  virtual Status check_device(int device) const = 0;
  virtual Status quantize_rows(const cuda::Int8RowsCall& call, void* stream) const = 0;
  virtual Expected<size_t> gemm_workspace(const cuda::S8GemmParams& params, int device) const = 0;
  virtual Status gemm(const cuda::S8GemmParams& params, int device, cuda::Int8Workspace workspace,
                      void* stream) const = 0;
};

// The GPUs of this build; one without CUDA refuses every call.
const Int8Device& int8_device();

}  // namespace intaglio::abi
