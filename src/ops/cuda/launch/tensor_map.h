// Tensor maps: what the copy engine (ptx/tma.cuh) needs to know of a tensor in global memory. Host
// side only; encoded anew for each launch.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

namespace intaglio::cuda {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's function, without linking the driver's library. nullptr if the driver has none.
inline EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* address = nullptr;
    cudaDriverEntryPointQueryResult found{};
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address,
                                                                12000, cudaEnableDefault, &found);
    return status == cudaSuccess && found == cudaDriverEntryPointSuccess
               ? reinterpret_cast<EncodeTiled>(address)
               : nullptr;
  }();
  return function;
}

// One dimension of a tensor, the contiguous one first.
struct TensorMapDimension {
  int64_t size;          // elements; what lies beyond reads as zero
  int64_t stride_bytes;  // a multiple of 16, below 2^40; not read for the first dimension
  uint32_t box;          // elements that one copy moves; of the first dimension at most 128 bytes
};

// A map with the 128-byte swizzle. False if the driver refuses it. `data` is 16-byte aligned.
template <size_t kRank>
bool encode_tensor_map(CUtensorMap& map, CUtensorMapDataType type, const void* data,
                       const std::array<TensorMapDimension, kRank>& dimensions) {
  cuuint64_t sizes[kRank], strides[kRank];
  cuuint32_t boxes[kRank], steps[kRank];
  for (size_t i = 0; i < kRank; ++i) {
    sizes[i] = static_cast<cuuint64_t>(dimensions[i].size);
    strides[i] = static_cast<cuuint64_t>(dimensions[i].stride_bytes);
    boxes[i] = dimensions[i].box;
    steps[i] = 1;
  }
  const EncodeTiled function = encode_tiled();
  return function != nullptr &&
         function(&map, type, kRank, const_cast<void*>(data), sizes, strides + 1, boxes, steps,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace intaglio::cuda
