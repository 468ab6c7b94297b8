// What the C interface (src/abi) asks of the CUDA part: the devices, the row quantizer and the int8
// product. No CUDA type, so that src/abi builds and is tested without CUDA; src/abi/int8_device.cpp
// refuses these calls in a build without it. Nothing here allocates or synchronises, and everything
// may be called while a stream is being captured, for every product: what is worth keeping of a
// device is asked once. An error of the CUDA runtime is ErrorCode::kDevice, with the name of the
// call that failed. Defined in a .cpp file of the host compiler: fmt 9, behind core/status.h, does
// not compile under nvcc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/status.h"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

enum class MemoryKind {
  kDevice,   // of one device
  kManaged,  // of every device
  kHost,     // pageable, pinned or unknown to the driver
};

struct MemoryInfo {
  MemoryKind kind = MemoryKind::kHost;
  int device = -1;  // of kDevice
};

// The calling thread's current device.
Expected<int> current_device();

Expected<MemoryInfo> memory_info(const void* pointer);

// The device of a cudaStream_t; of the default stream (nullptr): the current device.
Expected<int> stream_device(void* stream);

// kUnsupported, with the device's number and the reason, if there is no such device or no kernel
// for it.
Status check_device(int device);

// ops/quantize.h's formula. Arguments are checked: rows >= 1, cols >= 1, q at a multiple of 16
// bytes, ldq >= cols a multiple of 16.
struct Int8RowsCall {
  const void* x = nullptr;      // [rows, cols], row stride ldx elements, aligned to its element
  DType x_type = DType::kBF16;  // kBF16, kF16 or kF32
  int64_t ldx = 0;
  int8_t* q = nullptr;  // [rows, ldq]; columns cols..ldq are set to zero
  int64_t ldq = 0;
  float* scale = nullptr;  // [rows]
  int32_t rows = 0, cols = 0;
  // At most one of the two (ops/quantize.h: ColumnTransform).
  int32_t rotation_group = 0;     // 0: not rotated
  const float* smooth = nullptr;  // [cols] or nullptr
};

// On the current device.
Status int8_quantize_rows(const Int8RowsCall& call, void* stream);

// Bytes that the product needs beside its operands on `device`, 0 if none: enough for every kernel
// that int8_gemm may choose for `params`, now and later in this process. Reads the sizes, strides
// and types only; pointers are null.
Expected<size_t> int8_gemm_workspace(const S8GemmParams& params, int device);

// Which kernel int8_gemm takes for `params`, and its tile: for the trace.
std::string int8_gemm_kernel(const S8GemmParams& params, int device);

struct Int8Workspace {
  void* data = nullptr;  // at a multiple of 256 bytes; nullptr if bytes is 0
  size_t bytes = 0;      // at least what int8_gemm_workspace says
};

// The product on `device`, which is current. Pointers are aligned to their elements only: a, w and
// out may start anywhere else, and row strides need not be multiples of 16. The same bits each run:
// the kernel and its split of k follow from params and device alone. kUnsupported, with the reason,
// if no kernel takes it.
Status int8_gemm(const S8GemmParams& params, int device, Int8Workspace workspace, void* stream);

}  // namespace intaglio::cuda
