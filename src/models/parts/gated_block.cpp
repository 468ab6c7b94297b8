#include "models/parts/gated_block.h"

#include <algorithm>

#include "ops/norm.h"

namespace intaglio {
namespace {

// The norm that follows a residual, towards what its reader wants.
struct NextNorm {
  const LinearWeights& reader;
  NormDesc desc;
  NormArgs args;

  NextNorm(const GatedBlockSizes& sizes, const BlockBuffers& b, const LinearWeights& next,
           const AlignedBuffer& weight, const float* modulation)
      : reader(next) {
    const Activation out = b.norm_output(reader);
    desc = norm_into(NormKind::kRms, sizes.norm_eps, out);
    args = {.x = nullptr, .weight = weight.as<float>(), .modulation = modulation, .out = out};
  }
};

// A part of the block's modulation.
const float* part_of(const float* modulation, int64_t width, int64_t part) {
  return modulation == nullptr ? nullptr : modulation + part * width;
}

Status add_residual(const Context& context, const GatedBlockSizes& sizes,
                    const AlignedBuffer& weight, const float* gate, const NextNorm* next,
                    BlockBuffers& b, Profile* profile) {
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm, "residual");
    const NormDesc desc{NormKind::kRms, b.tokens, sizes.width(), sizes.norm_eps, b.dtype};
    const GatedResidualArgs residual{
        .h = b.h, .y = b.narrow, .y_dtype = b.dtype, .weight = weight.as<float>(), .gate = gate};
    INTAGLIO_TRY(gated_residual(context, desc, residual, next != nullptr ? &next->desc : nullptr,
                                next != nullptr ? &next->args : nullptr));
  }
  return next == nullptr ? Status{} : quantize_normed(context, next->reader, b, profile);
}

// Leaves the normed input of the feed-forward in b.input.
Status attend(const Context& context, const GatedBlockSizes& sizes, const GatedBlock& block,
              const GatedBlockInputs& in, BlockBuffers& b, Profile* profile) {
  const int64_t d = sizes.width();
  const Arena::Scope scope(*context.scratch);
  const AttentionDesc rows = in.attention.own(b.tokens);
  S8Heads s8;
  if (rows.scores == AttentionScores::kS8) {
    INTAGLIO_ASSIGN(s8, take_s8_heads(*context.scratch, rows));
  }
  const size_t element = dtype_size(b.dtype);
  const auto column = [&](int64_t c) {
    return static_cast<std::byte*>(b.wide) + static_cast<size_t>(c) * element;
  };
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "qkv");
    INTAGLIO_TRY(linear(context, block.qkv, b.input_for(block.qkv), b.wide, b.dtype, 3 * d));
  }
  {
    const ProfileScope part(context, profile, ProfilePart::kRope);
    INTAGLIO_TRY(qk_norm_rope(context, rows,
                              {.q = column(0),
                               .k = column(d),
                               .ld = 3 * d,
                               .q_weight = block.norm_q.as<float>(),
                               .k_weight = block.norm_k.as<float>(),
                               .rope = in.rope,
                               .pairing = sizes.pairing,
                               .eps = sizes.qk_norm_eps,
                               .s8 = s8}));
  }
  // Attention writes straight into the next linear's input when the types agree.
  void* const attended = block.out.input_dtype() == b.dtype ? b.input : b.narrow;
  {
    const ProfileScope part(context, profile, ProfilePart::kAttention);
    INTAGLIO_TRY(shared_attention(context, in.attention,
                                  {.q = column(0),
                                   .k = column(d),
                                   .v = column(2 * d),
                                   .ldq = 3 * d,
                                   .ldk = 3 * d,
                                   .ldv = 3 * d,
                                   .out = attended,
                                   .s8 = s8}));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, block.out, attended, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "attended"));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "out");
    INTAGLIO_TRY(linear(context, block.out, input, b.narrow, b.dtype, d));
  }
  const NextNorm next(sizes, b, block.w13, block.ffn_norm1, part_of(in.modulation, d, 2));
  return add_residual(context, sizes, block.attention_norm2, part_of(in.modulation, d, 1), &next, b,
                      profile);
}

Status feed_forward(const Context& context, const GatedBlockSizes& sizes, const GatedBlock& block,
                    const GatedBlockInputs& in, BlockBuffers& b, Profile* profile) {
  const int64_t d = sizes.width();
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "w1w3");
    INTAGLIO_TRY(
        linear(context, block.w13, b.input_for(block.w13), b.wide, b.dtype, block.w13.out_cols()));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, block.w2, b.wide, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "hidden"));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "w2");
    INTAGLIO_TRY(linear(context, block.w2, input, b.narrow, b.dtype, d));
  }
  const float* const gate = part_of(in.modulation, d, 3);
  if (in.next == nullptr)
    return add_residual(context, sizes, block.ffn_norm2, gate, nullptr, b, profile);
  const NextNorm next(sizes, b, in.next->qkv, in.next->attention_norm1, in.next_modulation);
  return add_residual(context, sizes, block.ffn_norm2, gate, &next, b, profile);
}

}  // namespace

int64_t GatedBlockSizes::hidden() const {
  return (intermediate + kSwigluGroup - 1) / kSwigluGroup * kSwigluGroup;
}

Status walk_gated_block(ModuleVisitor& v, const GatedBlockSizes& sizes, Residence residence,
                        LinearRows tokens, GatedBlock& block) {
  const int64_t d = sizes.width();
  const int64_t f = sizes.intermediate;
  INTAGLIO_TRY(v.linear({.names = {"attention.to_q", "attention.to_k", "attention.to_v"},
                         .rows = {d, d, d},
                         .k = d,
                         .residence = residence,
                         .quantized = true,
                         .label = "qkv",
                         .tokens = tokens,
                         .input_scale = {InputScale::Of::kVector, "attention_norm1.weight"}},
                        block.qkv));
  INTAGLIO_TRY(v.linear({.names = {"attention.to_out.0"},
                         .rows = {d},
                         .k = d,
                         .residence = residence,
                         .quantized = true,
                         .label = "out",
                         .tokens = tokens,
                         .input_scale = {InputScale::Of::kRows, "attention.to_v"}},
                        block.out));
  INTAGLIO_TRY(v.linear({.names = {"feed_forward.w1", "feed_forward.w3"},
                         .rows = {f, f},
                         .k = d,
                         .epilogue = GemmEpilogue::kSwiglu,
                         .residence = residence,
                         .quantized = true,
                         .label = "w1w3",
                         .tokens = tokens,
                         .input_scale = {InputScale::Of::kVector, "ffn_norm1.weight"}},
                        block.w13));
  INTAGLIO_TRY(v.linear({.names = {"feed_forward.w2"},
                         .rows = {d},
                         .k = f,
                         .residence = residence,
                         .padded_k = block.w13.out_cols(),
                         .quantized = true,
                         .label = "w2",
                         .tokens = tokens,
                         .input_scale = {InputScale::Of::kRows, "feed_forward.w3"}},
                        block.w2));
  INTAGLIO_TRY(v.vector("attention_norm1.weight", Shape{d}, block.attention_norm1));
  INTAGLIO_TRY(v.vector("attention_norm2.weight", Shape{d}, block.attention_norm2));
  INTAGLIO_TRY(v.vector("ffn_norm1.weight", Shape{d}, block.ffn_norm1));
  INTAGLIO_TRY(v.vector("ffn_norm2.weight", Shape{d}, block.ffn_norm2));
  INTAGLIO_TRY(v.vector("attention.norm_q.weight", Shape{sizes.head_dim}, block.norm_q));
  return v.vector("attention.norm_k.weight", Shape{sizes.head_dim}, block.norm_k);
}

BlockSizes gated_block_buffers(const GatedBlockSizes& sizes, DType dtype, int64_t rows,
                               int64_t input_cols) {
  const int64_t d = sizes.width();
  return {rows, d, std::max({d, sizes.hidden(), input_cols}), std::max(3 * d, sizes.hidden()),
          dtype};
}

size_t gated_block_scratch(const Context& context, const GatedBlock& block,
                           const AttentionDesc& desc, RowSplit split, int64_t sequence) {
  const AttentionBytes attention = shared_attention_bytes(context, desc, split, sequence);
  const int64_t rows =
      part_of_first(desc.tokens, sequence == 0 ? desc.tokens : sequence, split).count;
  size_t scratch = attention.work;
  for (const LinearWeights* w : {&block.qkv, &block.out, &block.w13, &block.w2})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, rows, desc.dtype));
  return attention.heads + scratch;
}

Status begin_gated_blocks(const Context& context, const GatedBlockSizes& sizes,
                          const GatedBlock& block, const float* modulation, BlockBuffers& b,
                          Profile* profile) {
  NextNorm first(sizes, b, block.qkv, block.attention_norm1, modulation);
  first.args.x = b.h;
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, first.desc, first.args));
  }
  return quantize_normed(context, first.reader, b, profile);
}

Status run_gated_block(const Context& context, const GatedBlockSizes& sizes,
                       const GatedBlock& block, const GatedBlockInputs& inputs, BlockBuffers& b,
                       Profile* profile) {
  INTAGLIO_TRY(attend(context, sizes, block, inputs, b, profile));
  return feed_forward(context, sizes, block, inputs, b, profile);
}

}  // namespace intaglio
