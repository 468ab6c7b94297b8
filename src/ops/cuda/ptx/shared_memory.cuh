// Plain accesses to shared memory by its 32-bit addresses.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// The 32-bit address that ldmatrix, cp.async and st.shared take.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void st_shared_16(uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

}  // namespace intaglio::cuda::ptx
