// The block of Krea 2's transformer and of its text stage: attention of grouped queries behind
// sigmoid gates, and a SwiGLU feed-forward, each behind an RMS norm. Every norm multiplies by 1 +
// its tensor.
//
//   h += gate1 * to_out(attention(rope(rms(q)), rope(rms(k)), v) * sigmoid(g))
//        q, g, k, v = (to_q, to_gate, to_k, to_v)(rms(h, norm1) * (1 + scale1) + shift1)
//   h += gate2 * down(silu(gate(u)) * up(u)),  u = rms(h, norm2) * (1 + scale2) + shift2
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

namespace intaglio::krea2 {

struct BlockShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // width of the feed-forward
  float norm_eps = 0.0f;

  int64_t width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  // Columns of q | g | k | v.
  int64_t fused() const { return 2 * (width() + kv_width()); }
};

struct Block {
  LinearWeights qgkv, out, gate_up, down;
  AlignedBuffer norm1, norm2, norm_q, norm_k;  // F32, 1 + what the file holds
};

// Scale, shift and gate of the attention, then of the feed-forward: F32 [6, width], memory of the
// device.
inline constexpr int64_t kModulationRows = 6;

// Every module of a block, under the visitor's prefix. `labels`: what its products are called.
struct BlockLabels {
  const char *qgkv, *out, *gate_up, *down;
  LinearRows rows;
};
Status walk_block(ModuleVisitor& visitor, const BlockShape& shape, Residence residence,
                  const BlockLabels& labels, Block& block);

// Of a block's buffers, for so many rows. `input_cols`: the widest other input of a linear that
// shares them.
BlockSizes block_buffer_sizes(const BlockShape& shape, DType dtype, int64_t rows,
                              int64_t input_cols = 0);
// Bytes that a block takes from context.scratch beside its buffers, with so many rows in them: of
// attention's sequences, or a rank's part of one.
size_t block_scratch(const Context& context, const Block& block, const AttentionDesc& attention,
                     int64_t rows, RowSplit split = {});

// What a block computes with, beside its weights.
struct BlockInputs {
  // Of one sequence; the rows are `sequences` of them, taken in turns: row t * sequences + s is
  // token t of sequence s. Several have float scores, and no ranks share them.
  SharedAttention attention;
  int64_t sequences = 1;
  RopeTable rope = {};                // of the rows in the buffers; none: nothing turns
  const float* modulation = nullptr;  // nullptr: scales and shifts 0, gates 1
  // The block that follows, whose normed input this one leaves in the buffers; nullptr: none.
  const Block* next = nullptr;
  const float* next_modulation = nullptr;
};

// The normed input of a first block, in its buffers.
Status begin_blocks(const Context& context, const BlockShape& shape, const Block& block,
                    const float* modulation, BlockBuffers& b, Profile* profile);
// b.input holds the block's normed input, as begin_blocks or the block before left it.
Status run_block(const Context& context, const BlockShape& shape, const Block& block,
                 const BlockInputs& inputs, BlockBuffers& b, Profile* profile);

}  // namespace intaglio::krea2
