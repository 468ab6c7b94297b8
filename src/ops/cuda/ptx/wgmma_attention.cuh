// The wgmma instructions of attention (sm_90a): one instruction, one function. Layout of D:
// ptx/wgmma.cuh.
//
// WgmmaScores<bf16 or s8, n>    D[64, n] = A[64, 32 bytes] B[n, 32 bytes]^T (+ D), both operands in shared memory, K-major (a row's bytes lie together along k)
// WgmmaValues<n>                D[64, n] (float) += A[64, 16] B[16, n], bf16, A in registers, B in shared memory as it lies: rows of k, columns together (MN-major)
//
// A in registers: D of a product in 16-bit pairs. Thread t of warp w: a[0] row 16 w + t / 4, k 2 (t
// % 4) + {0, 1}; a[1] row + 8; a[2] k + 8; a[3] row + 8, k + 8. So columns 16 s .. 16 s + 15 of D,
// packed in order (d[8 s], d[8 s + 1]), (d[8 s + 2], d[8 s + 3]), ... are A of step s.
//
// Descriptor of the MN-major B. A tile of V in shared memory is boxes of 64 columns: [columns /
// 64][keys][64] bf16. A row of a box is 128 bytes, the eight 16-byte chunks of a row are XORed with
// row % 8: the 128-byte swizzle, which repeats every 8 rows = 1024 bytes. The unit wgmma reads is
// one such 8 x 64 block: 64 neighbours in n by 8 in k.
//   stride offset:  from a block to the next one along k: 8 rows further in the same box, 1024 bytes. A k16 step reads two.
//   leading offset: from a block to the next one along n: the next box, keys * 128 bytes. n = 256
//   reads four. The next k16 step starts 16 rows = 2048 bytes further, a multiple of 1024, so the
//   swizzle's pattern starts where the descriptor says.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/wgmma.cuh"
#include "ops/cuda/ptx/wgmma_operands.h"

namespace intaglio::cuda::ptx {

// `address`: a multiple of 1024. `box_bytes`: from a box of 64 columns to the next.
__device__ __forceinline__ uint64_t wgmma_descriptor_mn_128b(uint32_t address, uint32_t box_bytes) {
  constexpr uint64_t kGroupStride = 1024 >> 4;             // bits 32..45, in 16-byte units
  constexpr uint64_t kSwizzle128B = 1;                     // bits 62..63
  const uint64_t box_stride = (box_bytes & 0x3ffff) >> 4;  // bits 16..29
  return ((address & 0x3ffff) >> 4) | (box_stride << 16) | (kGroupStride << 32) |
         (kSwizzle128B << 62);
}

// Of A in registers.
template <int kSteps>
__device__ __forceinline__ void pin_registers(uint32_t (&r)[kSteps][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kSteps; ++i) asm volatile("" : "+r"(r[i / 4][i % 4])::"memory");
}

enum class ScoreType { kBF16, kS8 };

template <ScoreType kType, int kN>
struct WgmmaScores;

// start: D = A B^T, what was in D does not matter. add: D += A B^T. `regs` = n / 2; `a` and `b` =
// regs and regs + 1, the numbers of the operands after D.
#define INTAGLIO_WGMMA_SCORES(type, element, n, regs, a, b, instruction, c, tail)            \
  template <>                                                                                \
  struct WgmmaScores<type, n> {                                                              \
    using Element = element;                                                                 \
    __device__ __forceinline__ static void start(element (&d)[n / 2], uint64_t desc_a,       \
                                                 uint64_t desc_b) {                          \
      asm volatile(                                                                          \
          "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"                                         \
          "wgmma.mma_async.sync.aligned.m64n" #n instruction " {" INTAGLIO_WGMMA_TEXT_##regs \
          "}, %" #a ", %" #b ", p" tail ";\n}\n"                                             \
          : INTAGLIO_WGMMA_LIST_##regs("=" c, d)                                             \
          : "l"(desc_a), "l"(desc_b));                                                       \
    }                                                                                        \
    __device__ __forceinline__ static void add(element (&d)[n / 2], uint64_t desc_a,         \
                                               uint64_t desc_b) {                            \
      asm volatile(                                                                          \
          "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                         \
          "wgmma.mma_async.sync.aligned.m64n" #n instruction " {" INTAGLIO_WGMMA_TEXT_##regs \
          "}, %" #a ", %" #b ", p" tail ";\n}\n"                                             \
          : INTAGLIO_WGMMA_LIST_##regs("+" c, d)                                             \
          : "l"(desc_a), "l"(desc_b));                                                       \
    }                                                                                        \
  };
// The tail of bf16: both operands times 1, neither transposed.
#define INTAGLIO_WGMMA_SCORES_BF16(n, regs, a, b)                                         \
  INTAGLIO_WGMMA_SCORES(ScoreType::kBF16, float, n, regs, a, b, "k16.f32.bf16.bf16", "f", \
                        ", 1, 1, 0, 0")
#define INTAGLIO_WGMMA_SCORES_S8(n, regs, a, b) \
  INTAGLIO_WGMMA_SCORES(ScoreType::kS8, int32_t, n, regs, a, b, "k32.s32.s8.s8", "r", "")

INTAGLIO_WGMMA_SCORES_BF16(80, 40, 40, 41)
INTAGLIO_WGMMA_SCORES_BF16(128, 64, 64, 65)
INTAGLIO_WGMMA_SCORES_S8(96, 48, 48, 49)
INTAGLIO_WGMMA_SCORES_S8(128, 64, 64, 65)

template <int kN>
struct WgmmaValues;

// `a` .. `d`, `b`: the numbers of the five operands after D. The tail: both operands times 1, B
// transposed, that is MN-major.
#define INTAGLIO_WGMMA_VALUES(n, regs, a0, a1, a2, a3, b)                                     \
  template <>                                                                                 \
  struct WgmmaValues<n> {                                                                     \
    __device__ __forceinline__ static void add(float (&d)[n / 2], const uint32_t (&a)[4],     \
                                               uint64_t desc_b) {                             \
      asm volatile(                                                                           \
          "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                          \
          "wgmma.mma_async.sync.aligned.m64n" #n                                              \
          "k16.f32.bf16.bf16"                                                                 \
          " {" INTAGLIO_WGMMA_TEXT_##regs "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b \
                                          ", p, 1, 1, 1;\n}\n"                                \
          : INTAGLIO_WGMMA_LIST_##regs("+f", d)                                               \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(desc_b));                         \
    }                                                                                         \
  };

INTAGLIO_WGMMA_VALUES(64, 32, 32, 33, 34, 35, 36)
INTAGLIO_WGMMA_VALUES(128, 64, 64, 65, 66, 67, 68)
INTAGLIO_WGMMA_VALUES(256, 128, 128, 129, 130, 131, 132)

#undef INTAGLIO_WGMMA_SCORES
#undef INTAGLIO_WGMMA_SCORES_BF16
#undef INTAGLIO_WGMMA_SCORES_S8
#undef INTAGLIO_WGMMA_VALUES

}  // namespace intaglio::cuda::ptx
