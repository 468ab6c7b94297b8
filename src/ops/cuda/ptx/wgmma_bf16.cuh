// wgmma for bf16 with sums in float: one instruction, one function.
// D[64, N] += A[64, 16] B[N, 16]^T, both operands K-major in shared memory. D lies as in
// ptx/wgmma.cuh, whose descriptors it takes; its floats stand in registers of int32_t as their
// bits, so that sums of int8 products can become them in place.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/wgmma_operands.h"

namespace intaglio::cuda::ptx {

template <int kN>
struct WgmmaBf16;

// `regs` = n / 2; `a` and `b` = regs and regs + 1, the numbers of the operands after D. The tail: D
// is added to, both operands times 1, neither transposed.
#define INTAGLIO_WGMMA_BF16(n, regs, a, b)                                               \
  template <>                                                                            \
  struct WgmmaBf16<n> {                                                                  \
    __device__ static void run(int32_t (&d)[regs], uint64_t desc_a, uint64_t desc_b) {   \
      asm volatile("wgmma.mma_async.sync.aligned.m64n" #n                                \
                   "k16.f32.bf16.bf16 {" INTAGLIO_WGMMA_TEXT_##regs "}, %" #a ", %" #b   \
                                                                    ", 1, 1, 1, 0, 0;\n" \
                   : INTAGLIO_WGMMA_LIST_##regs("+r", d)                                 \
                   : "l"(desc_a), "l"(desc_b));                                          \
    }                                                                                    \
  };

INTAGLIO_WGMMA_BF16(128, 64, 64, 65)
INTAGLIO_WGMMA_BF16(192, 96, 96, 97)
INTAGLIO_WGMMA_BF16(256, 128, 128, 129)

#undef INTAGLIO_WGMMA_BF16

}  // namespace intaglio::cuda::ptx
