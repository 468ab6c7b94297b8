// The block of Ideogram 4's and of Z-Image's transformers: attention and a SwiGLU feed-forward,
// each between two RMS norms, the first scaled and the second gated by the step's modulation.
//
//   h += gate1 * rms(out(attention(rope(rms(q)), rope(rms(k)), v)), attention_norm2)
//        q, k, v = qkv(rms(h, attention_norm1) * (1 + scale1))
//   h += gate2 * rms(w2(silu(w1(u)) * w3(u)), ffn_norm2),  u = rms(h, ffn_norm1) * (1 + scale2)
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/profile.h"
#include "models/parts/block_buffers.h"
#include "models/parts/modules.h"
#include "models/parts/split_attention.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace intaglio {

struct GatedBlockSizes {
  int64_t heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // width of the feed-forward
  float norm_eps = 0.0f, qk_norm_eps = 0.0f;
  RopePairing pairing = RopePairing::kHalves;

  int64_t width() const { return heads * head_dim; }
  // Of the feed-forward's inner rows, padded as kernels want it.
  int64_t hidden() const;
};

struct GatedBlock {
  LinearWeights qkv, out, w13, w2;
  AlignedBuffer attention_norm1, attention_norm2, ffn_norm1, ffn_norm2, norm_q, norm_k;  // F32
};

// Every module of a block, under the visitor's prefix. `tokens`: of the sequence it runs over.
Status walk_gated_block(ModuleVisitor& visitor, const GatedBlockSizes& sizes, Residence residence,
                        LinearRows tokens, GatedBlock& block);

// Of a block's buffers, for a sequence of so many rows. `input_cols`: the widest other input of a
// linear that shares them.
BlockSizes gated_block_buffers(const GatedBlockSizes& sizes, DType dtype, int64_t rows,
                               int64_t input_cols = 0);
// Bytes that a block takes from context.scratch beside its buffers; of one rank where the rows of
// attention are split, as part of a sequence of so many (SharedAttention).
size_t gated_block_scratch(const Context& context, const GatedBlock& block,
                           const AttentionDesc& attention, RowSplit split = {},
                           int64_t sequence = 0);

// What a block computes with, beside its weights.
struct GatedBlockInputs {
  SharedAttention attention;
  RopeTable rope;  // of the rows in the buffers
  // F32 [4, width] memory of the device: scale1, gate1, scale2, gate2. nullptr: scales 0, gates 1.
  const float* modulation = nullptr;
  // The block that follows, whose normed input this one leaves in the buffers; nullptr: none.
  const GatedBlock* next = nullptr;
  const float* next_modulation = nullptr;
};

// The normed input of a first block, in its buffers.
Status begin_gated_blocks(const Context& context, const GatedBlockSizes& sizes,
                          const GatedBlock& block, const float* modulation, BlockBuffers& buffers,
                          Profile* profile);
// b.input holds the block's normed input, as begin_gated_blocks or the block before left it.
Status run_gated_block(const Context& context, const GatedBlockSizes& sizes,
                       const GatedBlock& block, const GatedBlockInputs& inputs, BlockBuffers& b,
                       Profile* profile);

}  // namespace intaglio
