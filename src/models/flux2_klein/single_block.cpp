#include "models/flux2_klein/single_block.h"

#include <algorithm>

#include "ops/elementwise.h"

namespace intaglio::flux2_klein {
namespace {

void* column(void* rows, int64_t column, DType dtype) {
  return static_cast<std::byte*>(rows) + static_cast<size_t>(column) * dtype_size(dtype);
}

// From q | k | v in b.wide to the first columns of `joined`.
Status attend(const Context& context, const SingleBlockSizes& sizes, const SingleBlock& block,
              const SingleBlockInputs& in, const BlockBuffers& b, void* joined, Profile* profile) {
  const int64_t d = sizes.width();
  const int64_t ld = sizes.wide();
  const Arena::Scope scope(*context.scratch);
  const AttentionDesc rows = in.attention.own(b.tokens);
  S8Heads s8;
  if (rows.scores == AttentionScores::kS8) {
    INTAGLIO_ASSIGN(s8, take_s8_heads(*context.scratch, rows));
  }
  void* const k = column(b.wide, d, b.dtype);
  {
    const ProfileScope part(context, profile, ProfilePart::kRope);
    INTAGLIO_TRY(qk_norm_rope(context, rows,
                              {.q = b.wide,
                               .k = k,
                               .ld = ld,
                               .q_weight = block.norm_q.as<float>(),
                               .k_weight = block.norm_k.as<float>(),
                               .rope = in.rope,
                               .pairing = RopePairing::kAdjacent,
                               .eps = sizes.eps,
                               .s8 = s8}));
  }
  const ProfileScope part(context, profile, ProfilePart::kAttention);
  return shared_attention(context, in.attention,
                          {.q = b.wide,
                           .k = k,
                           .v = column(b.wide, 2 * d, b.dtype),
                           .ldq = ld,
                           .ldk = ld,
                           .ldv = ld,
                           .out = joined,
                           .ldo = sizes.joined(),
                           .s8 = s8});
}

}  // namespace

Status walk_single_block(ModuleVisitor& v, const SingleBlockSizes& sizes, SingleBlock& block) {
  const int64_t d = sizes.width();
  INTAGLIO_TRY(
      v.linear({.names = {"attn.to_qkv_mlp_proj"},
                .rows = {sizes.wide()},
                .k = d,
                .residence = Residence::kLayer,
                .quantized = true,
                .label = "single.in",
                .work = BlockWork{.hidden = sizes.intermediate, .attends = LinearRows::kSequence}},
               block.in));
  INTAGLIO_TRY(v.linear({.names = {"attn.to_out"},
                         .rows = {d},
                         .k = sizes.joined(),
                         .residence = Residence::kLayer,
                         .quantized = true,
                         .label = "single.out"},
                        block.out));
  INTAGLIO_TRY(v.vector("attn.norm_q.weight", Shape{sizes.head_dim}, block.norm_q));
  return v.vector("attn.norm_k.weight", Shape{sizes.head_dim}, block.norm_k);
}

void widen_buffers(const SingleBlockSizes& sizes, bool quantizes, BlockSizes& buffers) {
  buffers.input_cols = std::max(buffers.input_cols, sizes.joined());
  buffers.wide_cols = std::max(buffers.wide_cols, sizes.wide());
  if (quantizes) buffers.narrow_cols = std::max(buffers.narrow_cols, sizes.joined());
}

bool quantizes_joined(const SingleBlock& block, DType dtype) {
  return block.out.input_dtype() != dtype;
}

size_t single_block_scratch(const Context& context, const SingleBlock& block,
                            const AttentionDesc& desc, RowSplit split) {
  const AttentionBytes attention = shared_attention_bytes(context, desc, split);
  const int64_t rows = part_of(desc.tokens, split).count;
  size_t scratch = attention.heads + attention.work;
  for (const LinearWeights* w : {&block.in, &block.out})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, rows, desc.dtype));
  return scratch;
}

Status begin_single_blocks(const Context& context, const SingleBlockSizes& sizes,
                           const SingleBlock& block, const Modulation& modulation, BlockBuffers& b,
                           Profile* profile) {
  return run_norm(context, ModulatedNorm(b, sizes.eps, modulation, block.in), b, profile);
}

Status run_single_block(const Context& context, const SingleBlockSizes& sizes,
                        const SingleBlock& block, const SingleBlockInputs& in, BlockBuffers& b,
                        Profile* profile) {
  const int64_t d = sizes.width();
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "single.in");
    INTAGLIO_TRY(linear(context, block.in, b.input_for(block.in), b.wide, b.dtype, sizes.wide()));
  }
  void* const joined = quantizes_joined(block, b.dtype) ? b.narrow : b.input;
  INTAGLIO_TRY(attend(context, sizes, block, in, b, joined, profile));
  {
    const ProfileScope part(context, profile, ProfilePart::kOther, "swiglu");
    INTAGLIO_TRY(epilogue_rows(context, {.epilogue = GemmEpilogue::kSwiglu,
                                         .product = column(b.wide, 3 * d, b.dtype),
                                         .product_dtype = b.dtype,
                                         .out = column(joined, d, b.dtype),
                                         .out_dtype = b.dtype,
                                         .rows = b.tokens,
                                         .cols = sizes.intermediate,
                                         .ldo = sizes.joined(),
                                         .ld = sizes.wide()}));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, block.out, joined, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "joined"));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "single.out");
    INTAGLIO_TRY(linear(context, block.out, input, b.narrow, b.dtype, d));
  }
  if (in.next == nullptr) return add_gated(context, d, in.modulation.gate, nullptr, b, profile);
  const ModulatedNorm next(b, sizes.eps, in.modulation, in.next->in);
  return add_gated(context, d, in.modulation.gate, &next, b, profile);
}

}  // namespace intaglio::flux2_klein
