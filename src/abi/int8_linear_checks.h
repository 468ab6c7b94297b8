// Argument checks of the C interface's INT8 linear: plain C++ that runs without a GPU. Each error
// names the argument, what was found and what is expected.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi/int8_device.h"
#include "core/dtype.h"
#include "core/status.h"
#include "intaglio/intaglio.h"
#include "ops/cuda/launch/int8_linear.h"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::abi {

inline constexpr int64_t kMaxK = 130000;  // sums stay exact in int32 (ops/s8_gemm.h)
inline constexpr uint64_t kWorkspaceAlignment = 256;
inline constexpr int64_t kQuantizedStride = 16;  // what the row quantizer writes at once

// A checked descriptor. Strides are filled in; pointers of `gemm` are null. A float a is quantized
// to `q` and `scale` in the workspace, and then gemm.lda is the stride there.
struct LinearPlan {
  cuda::S8GemmParams gemm{};
  DType a_type = DType::kI8;
  int64_t lda = 0;            // of the caller's a
  uint64_t scale_offset = 0;  // of a's scales in the workspace; q is at its start
  uint64_t gemm_offset = 0;   // of the product's own part; 0 if a is int8
  uint32_t flags = 0;

  bool quantizes() const { return a_type != DType::kI8; }
};

// Leaves the driver out. m may be 0: then there is nothing to do and nothing else to check.
Expected<LinearPlan> plan_linear(const intaglio_int8_linear_desc& desc);

// Bytes of workspace when the product itself wants `gemm_bytes`.
uint64_t workspace_bytes(const LinearPlan& plan, size_t gemm_bytes);

// Checks pointers and stream; returns the device that everything belongs to. The workspace's size
// is left to check_workspace.
Expected<int> check_linear_args(const LinearPlan& plan, const intaglio_int8_linear_args& args,
                                const DeviceQueries& queries);

// `needed`: of workspace_bytes().
Status check_workspace(const intaglio_int8_linear_args& args, uint64_t needed, int device,
                       bool trusted, const DeviceQueries& queries);

// Checks everything. The call's rows are 0 if there is nothing to do.
Expected<cuda::Int8RowsCall> check_quantize_rows(const intaglio_int8_quantize_rows_args& args,
                                                 const DeviceQueries& queries);

}  // namespace intaglio::abi
