// ldmatrix.trans (sm_75 and up): four 8 x 8 matrices of 2-byte elements from shared memory,
// transposed on the way.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// Lane l names row l % 8 of matrix l / 8 (16 bytes, 16-byte aligned). Lane l receives in r[i], of
// matrix i, column l / 4 of rows 2 (l % 4) (low half) and 2 (l % 4) + 1 (high half). The "memory"
// clobber keeps it on its side of the barriers.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row_address)
               : "memory");
}

}  // namespace intaglio::cuda::ptx
