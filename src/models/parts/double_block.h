// The block of two streams, text and image, that FLUX.2 and Qwen-Image have: each stream has its
// linears and its modulation, attention runs over the sequence [text, image].
//
//   of each stream, m1 and m2 its two modulations (models/parts/modulated_norm.h):
//   h += gate1 * out(attention(rope(rms(q)), rope(rms(k)), v))        q, k, v = qkv(norm1(h))
//   h += gate2 * ffn_out(f(ffn_in(norm2(h))))        f: silu(gate) * up, or GELU
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/profile.h"
#include "models/parts/block_buffers.h"
#include "models/parts/modules.h"
#include "models/parts/split_attention.h"
#include "ops/attention.h"
#include "ops/linear.h"

namespace intaglio {

struct DoubleBlockSizes {
  // What a model calls the linears of a stream's feed-forward.
  struct FeedForward {
    std::vector<const char*> in;  // gate and up, or one behind which comes GELU
    const char* out = "";
  };
  int64_t heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // width of the feed-forwards
  float norm_eps = 0.0f, qk_norm_eps = 0.0f;
  bool bias = false;  // whether the linears have one
  FeedForward text, image;

  int64_t width() const { return heads * head_dim; }
  bool gated() const { return image.in.size() == 2; }
  // Of a feed-forward's inner rows, padded as kernels want them.
  int64_t hidden() const;
};

struct DoubleBlock {
  struct Stream {
    LinearWeights qkv, out, ffn_in, ffn_out;
    AlignedBuffer norm_q, norm_k;  // F32 [head_dim]
  };
  Stream text, image;
};

// Every module of a block, under the visitor's prefix, in the names of diffusers.
Status walk_double_block(ModuleVisitor& visitor, const DoubleBlockSizes& sizes, DoubleBlock& block);

// Of a block's buffers, for a sequence of so many rows. `input_cols`: the widest other input of a
// linear that shares them.
BlockSizes double_block_buffers(const DoubleBlockSizes& sizes, DType dtype, int64_t rows,
                                int64_t input_cols = 0);
// Bytes that a block takes from context.scratch beside its buffers. Rows of each stream at hand:
// all of `attention`, or a rank's part of them.
size_t double_block_scratch(const Context& context, const DoubleBlock& block,
                            const AttentionDesc& attention, int64_t text_rows, int64_t image_rows,
                            RowSplit split = {});

// Two modulations a stream, shift1, scale1, gate1, shift2, scale2, gate2: F32 [6, width], memory of
// the device.
struct DoubleModulation {
  const float* text = nullptr;
  const float* image = nullptr;
};

// What a block computes with, beside its weights.
struct DoubleBlockInputs {
  SharedAttention attention;  // over the whole sequence
  RopeTable rope;             // of the rows in the buffers
  DoubleModulation modulation;
  // The block that follows, whose normed input this one leaves in the buffers; nullptr: none.
  const DoubleBlock* next = nullptr;
  DoubleModulation next_modulation{};
  bool text_is_read = true;  // behind the block; else its rows are left as they are
};

// A sequence, or a rank's part of it, in buffers taken with `sizes`, text first. A part may have
// rows of one stream alone.
struct DoubleBuffers {
  BlockBuffers all;
  BlockSizes sizes;
  int64_t text_rows = 0;

  BlockBuffers text() const { return rows_of(all, sizes, 0, text_rows); }
  BlockBuffers image() const { return rows_of(all, sizes, text_rows, all.tokens - text_rows); }
};

// The normed input of a first block, in its buffers.
Status begin_double_blocks(const Context& context, const DoubleBlockSizes& sizes,
                           const DoubleBlock& block, const DoubleModulation& modulation,
                           const DoubleBuffers& b, Profile* profile);
// The buffers hold the block's normed input, as begin_double_blocks or the block before left it.
Status run_double_block(const Context& context, const DoubleBlockSizes& sizes,
                        const DoubleBlock& block, const DoubleBlockInputs& inputs,
                        const DoubleBuffers& b, Profile* profile);

}  // namespace intaglio
