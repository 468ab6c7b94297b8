// The block of FLUX.2 behind those of two streams: attention and feed-forward side by side over the
// sequence [text, image], one product in, one out.
//
//   q | k | v | g | w = in(layernorm(h) * (1 + scale) + shift)
//   h += gate * out([attention(rope(rms(q)), rope(rms(k)), v) | silu(g) * w])
//
//   wide [tokens, 3D + 2F]  | q | k | v | g  | w |      read where the product has left them
//   joined [tokens, D + F]  | attended  | hidden |      written side by side, quantized once
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/profile.h"
#include "models/parts/block_buffers.h"
#include "models/parts/modulated_norm.h"
#include "models/parts/modules.h"
#include "models/parts/split_attention.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace intaglio::flux2_klein {

struct SingleBlockSizes {
  int64_t heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // width of the feed-forward
  float eps = 0.0f;          // of all norms

  int64_t width() const { return heads * head_dim; }
  int64_t joined() const { return width() + intermediate; }
  int64_t wide() const { return 3 * width() + 2 * intermediate; }
};

struct SingleBlock {
  LinearWeights in, out;
  AlignedBuffer norm_q, norm_k;  // F32 [head_dim]
};

// Every module of a block, under the visitor's prefix.
Status walk_single_block(ModuleVisitor& visitor, const SingleBlockSizes& sizes, SingleBlock& block);

// What the block's buffers must hold beside those of others: joined rows that are quantized on
// their way lie in `narrow`.
void widen_buffers(const SingleBlockSizes& sizes, bool quantizes, BlockSizes& buffers);
// Whether `block` needs such rows.
bool quantizes_joined(const SingleBlock& block, DType dtype);
// Bytes that a block takes from context.scratch beside its buffers, over all of `attention`'s rows
// or a rank's part of them.
size_t single_block_scratch(const Context& context, const SingleBlock& block,
                            const AttentionDesc& attention, RowSplit split);

// What a block computes with, beside its weights.
struct SingleBlockInputs {
  SharedAttention attention;
  RopeTable rope;         // of the rows in the buffers
  Modulation modulation;  // of all single blocks
  // The block that follows, whose normed input this one leaves in the buffers; nullptr: none.
  const SingleBlock* next = nullptr;
};

// The normed input of a first block, in its buffers.
Status begin_single_blocks(const Context& context, const SingleBlockSizes& sizes,
                           const SingleBlock& block, const Modulation& modulation, BlockBuffers& b,
                           Profile* profile);
// b.input holds the block's normed input, as begin_single_blocks or the block before left it.
Status run_single_block(const Context& context, const SingleBlockSizes& sizes,
                        const SingleBlock& block, const SingleBlockInputs& inputs, BlockBuffers& b,
                        Profile* profile);

}  // namespace intaglio::flux2_klein
