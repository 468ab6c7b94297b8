// mma.sync for unsigned by signed bytes: d += a * b, exact in int32.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// As mma_m16n8k32_s8 (mma_s8.cuh), with bytes of a from 0 to 255.
__device__ __forceinline__ void mma_m16n8k32_u8s8(int32_t (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace intaglio::cuda::ptx
