#include "ops/cuda/launch/int8_linear.h"

#include <cuda_runtime_api.h>

#include "core/cuda/device.h"
#include "ops/cuda/launch/quantize_rows.h"
#include "ops/cuda/launch/s8_gemm.h"
#include "ops/cuda/stream.h"
#include "ops/cuda/tuning/tile_configs.h"

namespace intaglio::cuda {
namespace {

constexpr int kLeastCapability = 75;  // sm_75: the first integer tensor cores

}  // namespace

Expected<int> current_device() {
  int device = -1;
  INTAGLIO_TRY(device_status(cudaGetDevice(&device), "cudaGetDevice"));
  return device;
}

Expected<MemoryInfo> memory_info(const void* pointer) {
  cudaPointerAttributes attributes{};
  INTAGLIO_TRY(
      device_status(cudaPointerGetAttributes(&attributes, pointer), "cudaPointerGetAttributes"));
  if (attributes.type == cudaMemoryTypeDevice)
    return MemoryInfo{MemoryKind::kDevice, attributes.device};
  if (attributes.type == cudaMemoryTypeManaged) return MemoryInfo{MemoryKind::kManaged, -1};
  return MemoryInfo{MemoryKind::kHost, -1};
}

Expected<int> stream_device(void* stream) {
  if (stream == nullptr) return current_device();
  int device = -1;
  INTAGLIO_TRY(device_status(cudaStreamGetDevice(static_cast<cudaStream_t>(stream), &device),
                             "cudaStreamGetDevice"));
  return device;
}

Status check_device(int device) {
  const auto found = find_device(device);
  if (!found) return make_error(ErrorCode::kUnsupported, "{}", found.error().message);
  if ((*found)->compute_capability >= kLeastCapability) return {};
  return make_error(
      ErrorCode::kUnsupported,
      "cuda:{} is a {} of compute capability {}.{}; integer tensor cores begin at 7.5", device,
      (*found)->name, (*found)->compute_capability / 10, (*found)->compute_capability % 10);
}

Status int8_quantize_rows(const Int8RowsCall& call, void* stream) {
  QuantizeRowsParams params;
  params.x = call.x;
  params.ldx = call.ldx;
  params.q = call.q;
  params.ldq = call.ldq;
  params.scale = call.scale;
  params.rows = call.rows;
  params.cols = call.cols;
  params.type = call.x_type;
  if (call.rotation_group != 0) {
    params.transform = RowTransform::kRotate;
    params.group = call.rotation_group;
  } else if (call.smooth != nullptr) {
    params.transform = RowTransform::kSmooth;
    params.smooth = call.smooth;
  }
  if (const char* reason = quantize_rows_refusal(params))
    return make_error(ErrorCode::kUnsupported, "int8 quantization of [{}, {}]: {}", call.rows,
                      call.cols, reason);
  return device_status(quantize_rows(params, static_cast<cudaStream_t>(stream)),
                       "int8 quantization");
}

Expected<size_t> int8_gemm_workspace(const S8GemmParams& params, int device) {
  INTAGLIO_ASSIGN(const CudaDevice* const found, find_device(device));
  return s8_gemm_workspace_bound(params, *found);
}

std::string int8_gemm_kernel(const S8GemmParams& params, int device) {
  const auto found = find_device(device);
  if (!found) return found.error().message;
  const auto choice = choose_s8_gemm(params, **found);
  return choice ? describe(*choice, **found) : choice.error().message;
}

Status int8_gemm(const S8GemmParams& params, int device, Int8Workspace workspace, void* stream) {
  INTAGLIO_ASSIGN(const CudaDevice* const found, find_device(device));
  INTAGLIO_ASSIGN(const S8GemmChoice choice, choose_s8_gemm(params, *found));
  if (const size_t needed = s8_gemm_workspace_bytes(params, choice); needed > workspace.bytes)
    return make_error(ErrorCode::kInvalidArgument, "workspace: {} bytes, {} needed",
                      workspace.bytes, needed);
  return launch_s8_gemm(params, choice, *found, workspace.data, stream);
}

}  // namespace intaglio::cuda
