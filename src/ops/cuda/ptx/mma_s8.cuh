// mma.sync for int8: d += a * b, exact in int32 (wraps, never saturates).
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// sm_80 and up. a: 16 x 32, b: 32 x 8 (given as 8 rows of 32 k), d: 16 x 8. With g = lane / 4 and t
// = lane % 4:
//   a[0] row g, k 4t..   a[1] row g + 8, k 4t..   a[2] row g, k 16 + 4t..   a[3] row g + 8, k 16 + 4t..
//   b[0] column g, k 4t..   b[1] column g, k 16 + 4t..
//   d[0], d[1] row g, columns 2t, 2t + 1   d[2], d[3] row g + 8
__device__ __forceinline__ void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4],
                                                uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// sm_75. a: 8 x 16, b: 16 x 8, d: 8 x 8. a row g, k 4t..; b column g, k 4t..; d row g, columns 2t,
// 2t + 1.
__device__ __forceinline__ void mma_m8n8k16_s8(int32_t& d0, int32_t& d1, uint32_t a, uint32_t b) {
  asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
      : "+r"(d0), "+r"(d1)
      : "r"(a), "r"(b));
}

}  // namespace intaglio::cuda::ptx
