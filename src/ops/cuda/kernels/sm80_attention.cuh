// sm80_bf16_attention, sm80_s8_attention and sm80_s8_values_attention: attention by mma.sync, one
// template. For sm_80, 86, 89, 120, and sm_90 without wgmma.
//
//   out[t, h] = sum_s p[t, s] v[s] / sum_s p[t, s]        p[t, s] = exp(q[t, h] . k[s] / sqrt(head_dim)), s <= t if causal
//
// Layouts: ops/cuda/attention_params.h. bf16: all operands bf16, mma.m16n8k16. s8: q and k int8
// with scales, mma.m16n8k32, v bf16. In bytes the fragments of both instructions are the same, so
// the two kernels differ in what 32 bytes of a row hold and in how a score becomes a logit. s8
// values: q and k as s8, P uint8, v int8 with scales (ops/s8_values.h), mma.m16n8k32 twice.
//
//                  keys -->
//            d   +------+------+------+          One block: kTileQ queries of one head. One warp: 16 kMi of them, all head_dim columns of their
//          +---+ | K    | next |      |          output in registers. Keys come in tiles of kTileKeys: kSlots slots of K and of V in shared memory,
//   queries| Q | | tile | tile |      |          filled by cp.async, swizzled; ldmatrix takes K, ldmatrix.trans takes V.
//          +---+ +------+------+------+
//            x = Q K^T  | p = exp2(x) | out += P V
//
//   step t of a warp:   maxima of x(t) | wait, barrier | x(t + 1) = Q K(t + 1)^T, between its products p(t) = exp2(x(t)) | out += P(t) V(t)
//   copies from the barrier of step t:  K(t + kSlots) to the slot of K(t), V(t + kSlots - 1) to that of V(t - 1), with the first products
//
// The next tile's scores do not depend on this tile's exponentials: the matrix unit works on the
// ones while the float units make the others. P never leaves the registers: the accumulator layout
// of x is the A fragment of the second product. One barrier a step serves both ends of the ring:
// K(t) was last read in step t - 1 and V(t - 1) too.
//
// Softmax. Logits are in units of log2, so that p is one subtraction and one ex2. A row's reference
// m (what is subtracted) is a maximum seen earlier; it is raised only when a logit exceeds it by
// more than kSlack, else p just grows up to 2^kSlack: the quotient is the same and float and bf16
// keep their relative precision. So almost no step rescales the output, and without a raise a step
// needs no shuffle: each lane compares its own maxima, a vote tells the warp.
//
// s8: the sum of a product and the bits of 1.5 * 2^23 are, as a float, 1.5 * 2^23 plus the product,
// exact for |product| <= 2^22 = 256 * 128^2; so an integer addition and a float subtraction convert
// it; the conversion instruction runs at a quarter of their rate on sm_80.
//
// s8 values (AttentionValues::kS8). The 32 keys of a product have a reference of their own, their
// greatest logit r: p = 255 * 2^(x - r) is rounded to a byte, and what the product gives, an exact
// integer, is added to the output as a float times 2^(r - m). So p has 8 bits where the keys of the
// tile matter little too: with m in place of r nothing would be left of a tile whose logits are 9
// below m. Sums that stay integers from tile to tile would cost nothing but need one reference for
// all. Two instructions an element of the product instead run beside the next products
// (docs/modelled-3090.md has the count). V comes as [head_dim, 32] a group, keys in the order that
// makes the accumulators of x an A fragment of bytes, and ldmatrix takes it like K. The lazily
// raised m is as above: it only scales floats.
//
// Numeric contract: scores exact (s8) or float32 sums (bf16); logits, p and sums float32; P rounded
// to bf16, or 8 bits, for the second product, the row sums are of unrounded p. Same input, same
// bits. NaN and Inf of q, of visible k and v, and of the scales show in the output; a row whose
// logits are all -Inf is NaN. A NaN or Inf in v also shows in rows that see part of its tile of
// keys (0 * NaN).
//
// What bounds it. A warp reads all K and V of its head from shared memory for its 16 kMi rows: per
// instruction 256 / kMi bytes, 2 / kMi cycles of shared memory, against one instruction every 1.7
// cycles on sm_90, every 2 on sm_80, 4 (s8) and 8 (bf16) on sm_86 and 89. With head_dim 256 kMi is
// 1, because the output of 16 rows takes 128 registers: shared memory bounds sm_90 and sm_80. With
// head_dim 64 kMi is 2; with 128 its fragments would not leave the registers for the next scores.
//   head_dim 256, a tile of 32 keys, 128 rows: fragments bf16 256 KB, s8 192 KB, copies 32 and 24
//   KB: 2304 and 1728 cycles. On 132 SMs at 1.75 GHz
//   that bounds bf16 to 420 and s8 to 560 TFLOP/s; the matrix unit alone would do 550 and 730.
// Measure: bench/cuda/check_sm80_attention.cu.
#pragma once

#include <cstdint>

#include "ops/cuda/kernels/sm80_attention_config.cuh"
#include "ops/cuda/kernels/sm80_attention_warp.cuh"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"

namespace intaglio::cuda {

template <class C>
__device__ __forceinline__ void sm80_attention_block(const Sm80AttentionArgs& args) {
  const AttentionParams& params = args.p;
  extern __shared__ __align__(kBankLineBytes) int8_t smem[];
  const uint32_t smem_base = ptx::shared_address(smem);
  // The shuffle tells the compiler that `warp` is the same in all lanes.
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const bool causal = params.causal != 0;
  const WarpPlace<C> place = warp_place<C>(args, blockIdx.x, warp);
  const int kv_head = place.head / (params.heads / params.kv_heads);

  KeyValueLoader<C> loader(args, kv_head, min(params.tokens, place.tiles * C::kTileKeys),
                           smem_base);
  copy_queries<C>(params, place.head, place.block_row0, smem_base);
  // Group j carries K(j) and V(j - 1), so it goes where step j has its free slots.
  RingStep<C> ring;
  loader.copy_first_group(ring);
#pragma unroll 1
  for (int group = 1; group < C::kSlots; ++group) {
    ring.slot = ring.next();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
  }
  ring.slot = 0;
  AttentionWarp<C> w;
  w.start(args, place, smem_base, warp);
  // Of the tile the warp is at: one scale serves kTilesPerScale of them.
  constexpr int kTilesPerScale = kS8KeyBlock / C::kTileKeys;
  int scale_index = kv_head * ((params.tokens + kS8KeyBlock - 1) / kS8KeyBlock) * kTilesPerScale;
  const auto tile_scale = [&] {
    if constexpr (!C::Scores::kScaled) return 1.0f;
    return __ldg(params.k_scale + scale_index / kTilesPerScale);
  };

  ptx::cp_async_wait<C::kSlots - 1>();
  __syncthreads();
  if (place.warp_tiles > 0) w.template multiply_keys<false>(0, ring, loader);

  // K(t + 1) and V(t) have landed, for this thread by the wait and for all by the barrier, which
  // also says that all have left K(t) and V(t - 1).
  const auto meet = [] {
    ptx::cp_async_wait<C::kSlots - 2>();
    __syncthreads();
  };

  if (place.warp_tiles > 0) {
#pragma unroll 1
    for (; w.left > C::kTileKeys; w.left -= C::kTileKeys) {
      w.begin_tile(causal, tile_scale());
      meet();
      w.template multiply_keys<true>(ring.next_k(), ring, loader);
      loader.finish_group();
      w.multiply_values(ring.this_v());
      ring.slot = ring.next();
      ++scale_index;
    }
    // The warp's last tile, without a next one.
    w.begin_tile(causal, tile_scale());
    meet();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
#pragma unroll
    for (int i = 0; i < C::kVAhead; ++i) w.load_v(ring.this_v(), i);
    w.exponentials(0, 1);
    w.multiply_values(ring.this_v());
    w.store(args);
    ring.slot = ring.next();
  }
  // Other warps of the block see more keys: it goes on copying for them.
  const WarpPlace<C> again = warp_place<C>(args, ptx::read_block(), ptx::read_thread() / 32);
#pragma unroll 1
  for (int tile = again.warp_tiles; tile < again.tiles; ++tile) {
    meet();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
    ring.slot = ring.next();
  }
  // Copies may still be on their way to this block's shared memory.
  ptx::cp_async_wait<0>();
}

// What a block may have of shared memory; configs above it are not compiled for the architecture,
// and the launcher refuses them.
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
inline constexpr int kSm80AttentionSharedLimit = 99 * 1024;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
inline constexpr int kSm80AttentionSharedLimit = 163 * 1024;
#else
inline constexpr int kSm80AttentionSharedLimit = 227 * 1024;
#endif

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kCtasPerSm)
    sm80_attention_kernel(const __grid_constant__ Sm80AttentionArgs args) {
  if constexpr (C::kSmemBytes <= kSm80AttentionSharedLimit) sm80_attention_block<C>(args);
}

}  // namespace intaglio::cuda
