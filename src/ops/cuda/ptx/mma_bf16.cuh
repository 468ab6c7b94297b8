// mma.sync for bf16 (sm_80 and up): d += a * b, products exact, sums in float32.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// a: 16 x 16, b: 16 x 8, d: 16 x 8; a register holds two neighbours in k, the lower one in the low
// half. With g = lane / 4 and t = lane % 4:
//   a[0] row g, k 2t, 2t + 1   a[1] row g + 8   a[2] row g, k 8 + 2t, 9 + 2t   a[3] row g + 8, k 8 + 2t, 9 + 2t
//   b0 column g, k 2t, 2t + 1   b1 column g, k 8 + 2t, 9 + 2t
//   d[0], d[1] row g, columns 2t, 2t + 1   d[2], d[3] row g + 8
// In bytes of k this is the layout of mma_m16n8k32_s8.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace intaglio::cuda::ptx
