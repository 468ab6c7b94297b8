#include "models/krea2/block.h"

#include <algorithm>

#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::krea2 {
namespace {

// Rows of the modulation.
enum Part : int64_t { kScale1, kShift1, kGate1, kScale2, kShift2, kGate2 };

const float* part_of(const float* modulation, int64_t width, Part part) {
  return modulation == nullptr ? nullptr : modulation + part * width;
}

// A norm of the residual stream, towards what its reader wants.
struct NextNorm {
  const LinearWeights& reader;
  NormDesc desc;
  NormArgs args;

  NextNorm(const BlockShape& shape, const BlockBuffers& b, const LinearWeights& next,
           const AlignedBuffer& weight, const float* modulation, Part scale)
      : reader(next) {
    const Activation out = b.norm_output(reader);
    desc = norm_into(NormKind::kRms, shape.norm_eps, out);
    args = {.x = b.h,
            .weight = weight.as<float>(),
            .modulation = part_of(modulation, shape.width(), scale),
            .shift = part_of(modulation, shape.width(), static_cast<Part>(scale + 1)),
            .out = out};
  }
};

// h += gate * b.narrow, then the next norm.
Status add_residual(const Context& context, const BlockShape& shape, const float* gate,
                    const NextNorm* next, BlockBuffers& b, Profile* profile) {
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm, "residual");
    const NormDesc desc{NormKind::kNone, b.tokens, shape.width(), shape.norm_eps, b.dtype};
    const GatedResidualArgs residual{.h = b.h, .y = b.narrow, .y_dtype = b.dtype, .gate = gate};
    INTAGLIO_TRY(gated_residual(context, desc, residual, next != nullptr ? &next->desc : nullptr,
                                next != nullptr ? &next->args : nullptr));
  }
  return next == nullptr ? Status{} : quantize_normed(context, next->reader, b, profile);
}

Status multiply(const Context& context, const LinearWeights& weights, const Activation& x,
                void* out, const BlockBuffers& b, const char* label, Profile* profile) {
  const ProfileScope part(context, profile, ProfilePart::kLinear, label);
  return linear(context, weights, x, out, b.dtype, weights.out_cols());
}

// Leaves the normed input of the feed-forward in b.input.
Status attend(const Context& context, const BlockShape& shape, const Block& block,
              const BlockInputs& in, BlockBuffers& b, Profile* profile) {
  const int64_t d = shape.width();
  const int64_t ld = block.qgkv.out_cols();
  const Arena::Scope scope(*context.scratch);
  const AttentionDesc rows = in.attention.own(b.tokens);
  S8Heads s8;
  if (rows.scores == AttentionScores::kS8) {
    INTAGLIO_ASSIGN(s8, take_s8_heads(*context.scratch, rows));
  }
  const auto at = [&](void* base, int64_t offset) {
    return static_cast<std::byte*>(base) + static_cast<size_t>(offset) * dtype_size(b.dtype);
  };
  const int64_t k = 2 * d, v = k + shape.kv_width();
  INTAGLIO_TRY(multiply(context, block.qgkv, b.input_for(block.qgkv), b.wide, b, "qgkv", profile));
  {
    const ProfileScope part(context, profile, ProfilePart::kRope);
    INTAGLIO_TRY(qk_norm_rope(context, rows,
                              {.q = b.wide,
                               .k = at(b.wide, k),
                               .ld = ld,
                               .q_weight = block.norm_q.as<float>(),
                               .k_weight = block.norm_k.as<float>(),
                               .rope = in.rope,
                               .pairing = RopePairing::kAdjacent,
                               .eps = shape.norm_eps,
                               .s8 = s8}));
  }
  // Attention writes straight into the next linear's input when the types agree.
  void* const attended = block.out.input_dtype() == b.dtype ? b.input : b.narrow;
  {
    const ProfileScope part(context, profile, ProfilePart::kAttention);
    for (int64_t s = 0; s < in.sequences; ++s) {
      INTAGLIO_TRY(shared_attention(context, in.attention,
                                    {.q = at(b.wide, s * ld),
                                     .k = at(b.wide, s * ld + k),
                                     .v = at(b.wide, s * ld + v),
                                     .ldq = in.sequences * ld,
                                     .ldk = in.sequences * ld,
                                     .ldv = in.sequences * ld,
                                     .out = at(attended, s * d),
                                     .ldo = in.sequences * d,
                                     .s8 = s8}));
    }
  }
  {
    const ProfileScope part(context, profile, ProfilePart::kOther, "gate");
    INTAGLIO_TRY(gate_rows(context, {.x = attended,
                                     .gate = at(b.wide, d),
                                     .rows = b.tokens,
                                     .cols = d,
                                     .ld = ld,
                                     .dtype = b.dtype}));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, block.out, attended, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "attended"));
  INTAGLIO_TRY(multiply(context, block.out, input, b.narrow, b, "out", profile));
  const NextNorm next(shape, b, block.gate_up, block.norm2, in.modulation, kScale2);
  return add_residual(context, shape, part_of(in.modulation, d, kGate1), &next, b, profile);
}

Status feed_forward(const Context& context, const BlockShape& shape, const Block& block,
                    const BlockInputs& in, BlockBuffers& b, Profile* profile) {
  INTAGLIO_TRY(
      multiply(context, block.gate_up, b.input_for(block.gate_up), b.wide, b, "gate_up", profile));
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, block.down, b.wide, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "hidden"));
  INTAGLIO_TRY(multiply(context, block.down, input, b.narrow, b, "down", profile));
  const float* const gate = part_of(in.modulation, shape.width(), kGate2);
  if (in.next == nullptr) return add_residual(context, shape, gate, nullptr, b, profile);
  const NextNorm next(shape, b, in.next->qgkv, in.next->norm1, in.next_modulation, kScale1);
  return add_residual(context, shape, gate, &next, b, profile);
}

}  // namespace

Status walk_block(ModuleVisitor& v, const BlockShape& shape, Residence residence,
                  const BlockLabels& labels, Block& block) {
  const int64_t d = shape.width(), kv = shape.kv_width(), f = shape.intermediate;
  const auto module = [&](std::vector<std::string> names, std::vector<int64_t> rows, int64_t k,
                          const char* label) {
    return LinearModule{.names = std::move(names),
                        .rows = std::move(rows),
                        .k = k,
                        .residence = residence,
                        .quantized = true,
                        .label = label,
                        .tokens = labels.rows};
  };
  // Their norms multiply by 1 + the tensor, and a row of v is read by several heads: nothing that a
  // smoothing could be folded into. The rows of `up` are.
  INTAGLIO_TRY(v.linear(module({"attn.to_q", "attn.to_gate", "attn.to_k", "attn.to_v"},
                               {d, d, kv, kv}, d, labels.qgkv),
                        block.qgkv));
  INTAGLIO_TRY(v.linear(module({"attn.to_out.0"}, {d}, d, labels.out), block.out));
  LinearModule gate_up = module({"ff.gate", "ff.up"}, {f, f}, d, labels.gate_up);
  gate_up.epilogue = GemmEpilogue::kSwiglu;
  INTAGLIO_TRY(v.linear(gate_up, block.gate_up));
  LinearModule down = module({"ff.down"}, {d}, f, labels.down);
  down.padded_k = block.gate_up.out_cols();
  down.input_scale = {InputScale::Of::kRows, "ff.up"};
  INTAGLIO_TRY(v.linear(down, block.down));
  INTAGLIO_TRY(v.raised_vector("norm1.weight", Shape{d}, block.norm1));
  INTAGLIO_TRY(v.raised_vector("norm2.weight", Shape{d}, block.norm2));
  INTAGLIO_TRY(v.raised_vector("attn.norm_q.weight", Shape{shape.head_dim}, block.norm_q));
  return v.raised_vector("attn.norm_k.weight", Shape{shape.head_dim}, block.norm_k);
}

BlockSizes block_buffer_sizes(const BlockShape& shape, DType dtype, int64_t rows,
                              int64_t input_cols) {
  const int64_t d = shape.width();
  const int64_t hidden = (shape.intermediate + kSwigluGroup - 1) / kSwigluGroup * kSwigluGroup;
  return {rows, d, std::max({d, hidden, input_cols}), std::max(shape.fused(), hidden), dtype};
}

size_t block_scratch(const Context& context, const Block& block, const AttentionDesc& desc,
                     int64_t rows, RowSplit split) {
  const AttentionBytes attention = shared_attention_bytes(context, desc, split);
  size_t scratch = attention.work;
  for (const LinearWeights* w : {&block.qgkv, &block.out, &block.gate_up, &block.down})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, rows, desc.dtype));
  return attention.heads + scratch;
}

Status begin_blocks(const Context& context, const BlockShape& shape, const Block& block,
                    const float* modulation, BlockBuffers& b, Profile* profile) {
  const NextNorm first(shape, b, block.qgkv, block.norm1, modulation, kScale1);
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, first.desc, first.args));
  }
  return quantize_normed(context, first.reader, b, profile);
}

Status run_block(const Context& context, const BlockShape& shape, const Block& block,
                 const BlockInputs& inputs, BlockBuffers& b, Profile* profile) {
  INTAGLIO_TRY(attend(context, shape, block, inputs, b, profile));
  return feed_forward(context, shape, block, inputs, b, profile);
}

}  // namespace intaglio::krea2
