#include "models/parts/double_block.h"

#include <algorithm>

#include "core/memory.h"
#include "models/parts/modulated_norm.h"

namespace intaglio {
namespace {

// What diffusers calls the linears of a stream's attention.
struct StreamNames {
  std::vector<std::string> qkv;
  const char *out, *norm_q, *norm_k;
};

StreamNames text_names() {
  return {{"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"},
          "attn.to_add_out",
          "attn.norm_added_q.weight",
          "attn.norm_added_k.weight"};
}

StreamNames image_names() {
  return {{"attn.to_q", "attn.to_k", "attn.to_v"},
          "attn.to_out.0",
          "attn.norm_q.weight",
          "attn.norm_k.weight"};
}

// The inputs of `out` are attended rows, to which both streams' values add: no rows of one linear
// scale them.
Status walk_stream(ModuleVisitor& v, const DoubleBlockSizes& sizes, StreamNames names,
                   const DoubleBlockSizes::FeedForward& ffn, LinearRows tokens,
                   DoubleBlock::Stream& stream) {
  const int64_t d = sizes.width();
  const int64_t f = sizes.intermediate;
  const auto add = [&](LinearModule module, LinearWeights& weights) {
    module.bias = sizes.bias;
    module.residence = Residence::kLayer;
    module.quantized = true;
    module.tokens = tokens;
    return v.linear(module, weights);
  };
  INTAGLIO_TRY(
      add({.names = std::move(names.qkv), .rows = {d, d, d}, .k = d, .label = "qkv"}, stream.qkv));
  INTAGLIO_TRY(add({.names = {names.out}, .rows = {d}, .k = d, .label = "out"}, stream.out));
  const bool gated = sizes.gated();
  // Attention runs over both streams once.
  BlockWork work{.hidden = sizes.hidden()};
  if (tokens == LinearRows::kImage) work.attends = LinearRows::kSequence;
  INTAGLIO_TRY(add({.names = {ffn.in.begin(), ffn.in.end()},
                    .rows = std::vector<int64_t>(ffn.in.size(), f),
                    .k = d,
                    .epilogue = gated ? GemmEpilogue::kSwiglu : GemmEpilogue::kGeluTanh,
                    .label = "ffn_in",
                    .work = work},
                   stream.ffn_in));
  INTAGLIO_TRY(
      add({.names = {ffn.out},
           .rows = {d},
           .k = f,
           .padded_k = stream.ffn_in.out_cols(),
           .label = "ffn_out",
           .input_scale = gated ? InputScale{InputScale::Of::kRows, ffn.in.back()} : InputScale{}},
          stream.ffn_out));
  INTAGLIO_TRY(v.vector(names.norm_q, Shape{sizes.head_dim}, stream.norm_q));
  return v.vector(names.norm_k, Shape{sizes.head_dim}, stream.norm_k);
}

void* at(void* base, int64_t elements, DType dtype) {
  return static_cast<std::byte*>(base) + static_cast<size_t>(elements) * dtype_size(dtype);
}

// One of the two, its rows of the sequence and its part of what lies over all rows.
struct StreamPart {
  const DoubleBlock::Stream* stream;
  BlockBuffers b;
  int64_t first = 0;
  const float* modulation = nullptr;
  const DoubleBlock::Stream* next = nullptr;
  const float* next_modulation = nullptr;
};

Status project(const Context& context, const DoubleBlockSizes& sizes, const DoubleBlockInputs& in,
               const StreamPart& part, const BlockBuffers& all, Profile* profile) {
  const int64_t d = sizes.width();
  const DType dtype = all.dtype;
  void* const qkv = at(all.wide, part.first * 3 * d, dtype);
  {
    const ProfileScope scope(context, profile, ProfilePart::kLinear, "qkv");
    INTAGLIO_TRY(
        linear(context, part.stream->qkv, part.b.input_for(part.stream->qkv), qkv, dtype, 3 * d));
  }
  // Heads are normed by the stream's own weights; int8 heads are made of the whole sequence.
  AttentionDesc desc = in.attention.own(part.b.tokens);
  desc.scores = AttentionScores::kFloat;
  desc.values = AttentionValues::kFloat;
  const int64_t angles = part.first * sizes.head_dim / 2;
  const ProfileScope scope(context, profile, ProfilePart::kRope);
  return qk_norm_rope(context, desc,
                      {.q = qkv,
                       .k = at(qkv, d, dtype),
                       .ld = 3 * d,
                       .q_weight = part.stream->norm_q.as<float>(),
                       .k_weight = part.stream->norm_k.as<float>(),
                       .rope = {in.rope.cos + angles, in.rope.sin + angles},
                       .pairing = RopePairing::kAdjacent,
                       .eps = sizes.qk_norm_eps});
}

// Attention over both streams, from q | k | v in all.wide to `out` [tokens, width].
Status attend(const Context& context, const DoubleBlockSizes& sizes, const DoubleBlockInputs& in,
              const BlockBuffers& all, void* out, Profile* profile) {
  const int64_t d = sizes.width();
  const Arena::Scope scope(*context.scratch);
  void* const k = at(all.wide, d, all.dtype);
  S8Heads s8;
  if (in.attention.desc.scores == AttentionScores::kS8) {
    const AttentionDesc rows = in.attention.own(all.tokens);
    INTAGLIO_ASSIGN(s8, take_s8_heads(*context.scratch, rows));
    const ProfileScope part(context, profile, ProfilePart::kRope, "heads");
    INTAGLIO_TRY(
        qk_norm_rope(context, rows, {.q = all.wide, .k = k, .ld = 3 * d, .rope = {}, .s8 = s8}));
  }
  const ProfileScope part(context, profile, ProfilePart::kAttention);
  return shared_attention(context, in.attention,
                          {.q = all.wide,
                           .k = k,
                           .v = at(all.wide, 2 * d, all.dtype),
                           .ldq = 3 * d,
                           .ldk = 3 * d,
                           .ldv = 3 * d,
                           .out = out,
                           .s8 = s8});
}

// Leaves the normed input of the feed-forward. `attended`: the stream's rows, in all.input or
// all.narrow.
Status project_out(const Context& context, const DoubleBlockSizes& sizes, StreamPart& part,
                   const BlockBuffers& all, void* attended, Profile* profile) {
  const int64_t d = sizes.width();
  const LinearWeights& out = part.stream->out;
  BlockBuffers& b = part.b;
  // What is read as it lies must make room for the output.
  if (out.input_dtype() == b.dtype && attended == at(all.narrow, part.first * d, b.dtype)) {
    INTAGLIO_TRY(copy_inside(context, b.input, attended,
                             static_cast<size_t>(b.tokens * d) * dtype_size(b.dtype)));
    attended = b.input;
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, out, attended, b.dtype, b.tokens, b.input, b.scale_row,
                                  profile, "attended"));
  {
    const ProfileScope scope(context, profile, ProfilePart::kLinear, "out");
    INTAGLIO_TRY(linear(context, out, input, b.narrow, b.dtype, d));
  }
  const ModulatedNorm next(b, sizes.norm_eps, Modulation::at(part.modulation, d, 1),
                           part.stream->ffn_in);
  return add_gated(context, d, Modulation::at(part.modulation, d, 0).gate, &next, b, profile);
}

Status feed_forward(const Context& context, const DoubleBlockSizes& sizes, StreamPart& part,
                    Profile* profile) {
  const int64_t d = sizes.width();
  const DoubleBlock::Stream& s = *part.stream;
  BlockBuffers& b = part.b;
  {
    const ProfileScope scope(context, profile, ProfilePart::kLinear, "ffn_in");
    INTAGLIO_TRY(
        linear(context, s.ffn_in, b.input_for(s.ffn_in), b.wide, b.dtype, s.ffn_in.out_cols()));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, s.ffn_out, b.wide, b.dtype, b.tokens, b.input,
                                  b.scale_row, profile, "hidden"));
  {
    const ProfileScope scope(context, profile, ProfilePart::kLinear, "ffn_out");
    INTAGLIO_TRY(linear(context, s.ffn_out, input, b.narrow, b.dtype, d));
  }
  const float* const gate = Modulation::at(part.modulation, d, 1).gate;
  if (part.next == nullptr) return add_gated(context, d, gate, nullptr, b, profile);
  const ModulatedNorm next(b, sizes.norm_eps, Modulation::at(part.next_modulation, d, 0),
                           part.next->qkv);
  return add_gated(context, d, gate, &next, b, profile);
}

size_t stream_scratch(const Context& context, const DoubleBlock::Stream& stream, int64_t rows,
                      DType dtype) {
  size_t scratch = 0;
  for (const LinearWeights* w : {&stream.qkv, &stream.out, &stream.ffn_in, &stream.ffn_out})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, rows, dtype));
  return scratch;
}

}  // namespace

int64_t DoubleBlockSizes::hidden() const {
  if (!gated()) return intermediate;
  return (intermediate + kSwigluGroup - 1) / kSwigluGroup * kSwigluGroup;
}

Status walk_double_block(ModuleVisitor& v, const DoubleBlockSizes& sizes, DoubleBlock& block) {
  INTAGLIO_TRY(walk_stream(v, sizes, image_names(), sizes.image, LinearRows::kImage, block.image));
  return walk_stream(v, sizes, text_names(), sizes.text, LinearRows::kText, block.text);
}

BlockSizes double_block_buffers(const DoubleBlockSizes& sizes, DType dtype, int64_t rows,
                                int64_t input_cols) {
  const int64_t d = sizes.width();
  return {rows, d, std::max({d, sizes.hidden(), input_cols}), std::max(3 * d, sizes.hidden()),
          dtype};
}

size_t double_block_scratch(const Context& context, const DoubleBlock& block,
                            const AttentionDesc& desc, int64_t text_rows, int64_t image_rows,
                            RowSplit split) {
  const AttentionBytes attention = shared_attention_bytes(context, desc, split);
  return std::max({stream_scratch(context, block.text, text_rows, desc.dtype),
                   stream_scratch(context, block.image, image_rows, desc.dtype),
                   attention.heads + attention.work});
}

Status begin_double_blocks(const Context& context, const DoubleBlockSizes& sizes,
                           const DoubleBlock& block, const DoubleModulation& modulation,
                           const DoubleBuffers& b, Profile* profile) {
  const int64_t d = sizes.width();
  const auto begin = [&](BlockBuffers rows, const DoubleBlock::Stream& stream,
                         const float* table) -> Status {
    if (rows.tokens == 0) return {};
    return run_norm(context,
                    ModulatedNorm(rows, sizes.norm_eps, Modulation::at(table, d, 0), stream.qkv),
                    rows, profile);
  };
  INTAGLIO_TRY(begin(b.text(), block.text, modulation.text));
  return begin(b.image(), block.image, modulation.image);
}

Status run_double_block(const Context& context, const DoubleBlockSizes& sizes,
                        const DoubleBlock& block, const DoubleBlockInputs& in,
                        const DoubleBuffers& b, Profile* profile) {
  const BlockBuffers& all = b.all;
  std::vector<StreamPart> parts{{.stream = &block.text,
                                 .b = b.text(),
                                 .first = 0,
                                 .modulation = in.modulation.text,
                                 .next = in.next == nullptr ? nullptr : &in.next->text,
                                 .next_modulation = in.next_modulation.text},
                                {.stream = &block.image,
                                 .b = b.image(),
                                 .first = b.text_rows,
                                 .modulation = in.modulation.image,
                                 .next = in.next == nullptr ? nullptr : &in.next->image,
                                 .next_modulation = in.next_modulation.image}};
  std::erase_if(parts, [](const StreamPart& part) { return part.b.tokens == 0; });
  for (const StreamPart& part : parts)
    INTAGLIO_TRY(project(context, sizes, in, part, all, profile));
  // Attention writes straight into the next linears' input when the types agree.
  const bool as_it_lies = std::all_of(parts.begin(), parts.end(), [&](const auto& part) {
    return part.stream->out.input_dtype() == all.dtype;
  });
  void* const attended = as_it_lies ? all.input : all.narrow;
  INTAGLIO_TRY(attend(context, sizes, in, all, attended, profile));
  if (!in.text_is_read)
    std::erase_if(parts, [&](const StreamPart& part) { return part.stream == &block.text; });
  // Both before a feed-forward, whose inner rows are wider than the attended ones.
  for (StreamPart& part : parts) {
    INTAGLIO_TRY(project_out(context, sizes, part, all,
                             at(attended, part.first * sizes.width(), all.dtype), profile));
  }
  for (StreamPart& part : parts) INTAGLIO_TRY(feed_forward(context, sizes, part, profile));
  return {};
}

}  // namespace intaglio
