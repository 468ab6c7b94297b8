// ldmatrix (sm_75 and up): four 8 x 16-byte matrices from shared memory, one register of each to
// every lane.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// Lane l names row l % 8 of matrix l / 8 (16 bytes, 16-byte aligned). Lane l receives in r[i] bytes
// 4 (l % 4) .. + 3 of row l / 4 of matrix i. The "memory" clobber keeps it on its side of the
// barriers.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row_address)
               : "memory");
}

}  // namespace intaglio::cuda::ptx
