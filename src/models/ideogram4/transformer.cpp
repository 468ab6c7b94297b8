#include "models/ideogram4/transformer.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/memory.h"
#include "core/pace.h"
#include "models/ideogram4/rope.h"
#include "models/parts/block_buffers.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::ideogram4 {
namespace {

constexpr float kTextNormEps = 1e-6f;
constexpr float kFinalNormEps = 1e-6f;
constexpr double kTimeScale = 1e4;
constexpr double kTimeMaxPeriod = 1e4;

// [sin, cos] of s * exp(-ln(1e4) j / (half - 1)), s = 1e4 t, j = 0 .. half - 1. Angles reach 1e4: formed in float64.
void fill_time_embedding(float time, int64_t width, float* out) {
  const int64_t half = width / 2;
  const double scaled = kTimeScale * static_cast<double>(time);
  for (int64_t j = 0; j < half; ++j) {
    const double exponent = half > 1 ? static_cast<double>(j) / static_cast<double>(half - 1) : 0.0;
    const double angle = scaled * std::exp(-std::log(kTimeMaxPeriod) * exponent);
    out[j] = static_cast<float>(std::sin(angle));
    out[half + j] = static_cast<float>(std::cos(angle));
  }
  if (width % 2 != 0) out[width - 1] = 0.0f;
}

// Text tokens that a session has memory for: prompts of nearly the same length share it.
int64_t text_capacity(int64_t text_tokens) {
  constexpr int64_t kTextBucket = 256;
  return (text_tokens + kTextBucket - 1) / kTextBucket * kTextBucket;
}

// `count` floats in `buffer`, uninitialised; the same memory if it has that size.
Status hold_floats(const Context& context, int64_t count, AlignedBuffer& buffer) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (buffer.size() == bytes) return {};
  buffer = AlignedBuffer();  // give the old memory back first
  INTAGLIO_ASSIGN(buffer, allocate(context, bytes));
  return {};
}

BlockSizes block_sizes(const TransformerConfig& c, DType dtype, int64_t tokens) {
  const int64_t hidden = (c.intermediate + kSwigluGroup - 1) / kSwigluGroup * kSwigluGroup;
  return {tokens, c.width(), std::max({c.width(), hidden, c.channels}),
          std::max(3 * c.width(), hidden), dtype};
}

}  // namespace

size_t Transformer::weight_bytes() const {
  size_t bytes = 0;
  for (const LinearWeights* w : {&input_proj_, &text_proj_, &time_in_, &time_out_, &adaln_proj_,
                                 &final_modulation_, &final_linear_}) {
    bytes += w->size_bytes();
  }
  for (const Layer& layer : layers_) {
    for (const LinearWeights* w :
         {&layer.qkv, &layer.out, &layer.w13, &layer.w2, &layer.modulation})
      bytes += w->size_bytes();
  }
  return bytes;
}

uint64_t Transformer::streamed_bytes() const {
  uint64_t bytes = 0;
  for (const StreamedLayer& layer : streamed_) bytes += layer.bytes();
  return bytes;
}

size_t Transformer::session_bytes(int64_t text_tokens, int64_t grid_h, int64_t grid_w,
                                  int64_t steps) const {
  const int64_t text = text_capacity(text_tokens);
  const int64_t floats = text * config_.width() + (text + grid_h * grid_w) * config_.head_dim +
                         (4 * config_.layers + 1) * (steps + 1) * config_.width();
  return static_cast<size_t>(floats) * sizeof(float);
}

// int8 scores where they were asked for, or where the precision is int8 and some kernel takes them.
AttentionDesc Transformer::attention_desc(const Context& context, int64_t tokens) const {
  AttentionDesc desc{.tokens = tokens,
                     .heads = config_.heads,
                     .kv_heads = config_.heads,
                     .head_dim = config_.head_dim,
                     .causal = false,
                     .dtype = options_.selection.activation_dtype()};
  if (options_.scores) {
    desc.scores = *options_.scores;
  } else if (options_.selection.precision == Precision::kInt8) {
    desc.scores = AttentionScores::kS8;
    if (!choose_attention(desc, context)) desc.scores = AttentionScores::kFloat;
  }
  return desc;
}

size_t Transformer::forward_bytes(const Context& context, int64_t tokens,
                                  int64_t image_tokens) const {
  const DType dtype = options_.selection.activation_dtype();
  size_t scratch = 0;
  for (const Layer& layer : layers_) {
    for (const LinearWeights* w : {&layer.qkv, &layer.out, &layer.w13, &layer.w2}) {
      scratch = std::max(scratch, linear_scratch_bytes(context, *w, tokens, dtype));
    }
  }
  scratch =
      std::max(scratch, linear_scratch_bytes(context, input_proj_, image_tokens, DType::kF32));
  scratch =
      std::max(scratch, linear_scratch_bytes(context, final_linear_, image_tokens, DType::kF32));
  const AttentionDesc desc = attention_desc(context, tokens);
  scratch = std::max(scratch, attention_scratch_bytes(context, desc));
  size_t heads = 0;
  if (desc.scores == AttentionScores::kS8) {
    heads = s8_heads_bytes(desc);
    scratch = std::max(scratch, qk_norm_rope_scratch_bytes(context, desc));
  }
  return block_buffer_bytes(block_sizes(config_, dtype, tokens)) + heads + scratch;
}

size_t Transformer::prepare_bytes(const Context& context, int64_t text_tokens,
                                  int64_t steps) const {
  const int64_t d = config_.width();
  size_t scratch = 0;
  for (const LinearWeights* w :
       {&time_in_, &time_out_, &adaln_proj_, &final_modulation_, &layers_.front().modulation}) {
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, steps, DType::kF32));
  }
  const size_t time_bytes = 3 * arena_bytes<float>(steps * std::max(d, config_.adaln_dim)) +
                            arena_bytes<float>(steps) + scratch;
  if (text_tokens == 0 || !options_.with_text) return time_bytes;
  const size_t text_bytes = arena_bytes<float>(text_tokens * config_.text_dim) +
                            arena_bytes<float>(text_tokens) +
                            linear_scratch_bytes(context, text_proj_, text_tokens, DType::kF32);
  return std::max(time_bytes, text_bytes);
}

size_t Transformer::scratch_bytes(const Context& context, int64_t text_tokens, int64_t grid_h,
                                  int64_t grid_w, int64_t steps) const {
  return std::max(forward_bytes(context, text_tokens + grid_h * grid_w, grid_h * grid_w),
                  prepare_bytes(context, text_tokens, steps));
}

Status Transformer::prepare(const Context& context, const TextInput& text, int64_t grid_h,
                            int64_t grid_w, std::span<const float> times,
                            TransformerSession& session) const {
  if (grid_h < 1 || grid_w < 1 || text.tokens < 0 || times.empty()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "transformer: grid {} x {}, {} text tokens, {} steps; expected positive sizes", grid_h,
        grid_w, text.tokens, times.size());
  }
  if (text.tokens > 0 && !options_.with_text) {
    return make_error(ErrorCode::kInvalidArgument,
                      "transformer: {} text tokens given to a model loaded without text",
                      text.tokens);
  }
  const bool same = session.placement_ != 0 && session.text_tokens_ == text.tokens &&
                    session.grid_h_ == grid_h && session.grid_w_ == grid_w;
  session.text_tokens_ = text.tokens;
  session.grid_h_ = grid_h;
  session.grid_w_ = grid_w;
  session.steps_ = static_cast<int64_t>(times.size());
  const int64_t d = config_.width();
  INTAGLIO_TRY(hold_floats(context, config_.layers * session.steps_ * 4 * d, session.modulation_));
  INTAGLIO_TRY(hold_floats(context, session.steps_ * d, session.final_scale_));
  if (!same) INTAGLIO_TRY(place_session(context, session));
  INTAGLIO_TRY(embed_times(context, times, session));
  if (text.tokens == 0) return {};
  if (text.rows == nullptr) return embed_text(context, text.features, session);
  return copy_in(context, session.text_rows_.data(), text.rows,
                 static_cast<size_t>(text.tokens * d) * sizeof(float));
}

Expected<std::vector<float>> Transformer::text_rows(const Context& context,
                                                    const TransformerSession& session) const {
  std::vector<float> rows(static_cast<size_t>(session.text_tokens_ * config_.width()));
  INTAGLIO_TRY(
      copy_out(context, rows.data(), session.text_rows_.data(), rows.size() * sizeof(float)));
  return rows;
}

// Memory for what `forward` reads, and the rope tables, which depend on the sizes alone.
Status Transformer::place_session(const Context& context, TransformerSession& session) const {
  static std::atomic<uint64_t> last_placement{0};
  session.placement_ = 0;
  const int64_t d = config_.width();
  const int64_t text = text_capacity(session.text_tokens_);
  const int64_t angles = config_.head_dim / 2;
  INTAGLIO_TRY(hold_floats(context, text * d, session.text_rows_));
  INTAGLIO_TRY(hold_floats(context, (4 * config_.layers + 1) * d, session.now_));
  INTAGLIO_TRY(hold_floats(context, (text + session.image_tokens()) * angles, session.rope_cos_));
  INTAGLIO_TRY(hold_floats(context, (text + session.image_tokens()) * angles, session.rope_sin_));
  std::vector<float> cosine(static_cast<size_t>(session.tokens() * angles)), sine(cosine.size());
  fill_image_rope(config_, session.text_tokens_, session.grid_h_, session.grid_w_, cosine.data(),
                  sine.data());
  const size_t bytes = cosine.size() * sizeof(float);
  INTAGLIO_TRY(copy_in(context, session.rope_cos_.data(), cosine.data(), bytes));
  INTAGLIO_TRY(copy_in(context, session.rope_sin_.data(), sine.data(), bytes));
  session.placement_ = ++last_placement;
  return {};
}

Status Transformer::embed_text(const Context& context, const float* text_features,
                               TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t rows = session.text_tokens_;
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(rows * config_.text_dim));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(rows));
  const Activation normed{text_proj_.input_dtype(), storage, rows, config_.text_dim, scale_row};
  const NormDesc desc{NormKind::kRms, rows, config_.text_dim, kTextNormEps, normed.dtype};
  INTAGLIO_TRY(norm(context, desc,
                    {.x = text_features,
                     .weight = text_norm_.as<float>(),
                     .modulation = nullptr,
                     .out = normed}));
  return linear(context, text_proj_, normed, session.text_rows_.as<float>(), DType::kF32,
                config_.width());
}

Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = config_.width();
  const int64_t steps = session.steps_;
  const int64_t width = std::max(d, config_.adaln_dim);
  INTAGLIO_ASSIGN(float* x, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* y, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(steps * width));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(steps));
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, scale_row));
    return linear(context, weights, input, out, DType::kF32, weights.n);
  };
  const auto activate = [&](float* values, int64_t cols, int64_t ld, Nonlinearity function) {
    return activate_in_place(
        context, {.x = values, .rows = steps, .cols = cols, .ld = ld, .function = function});
  };

  std::vector<float> embedding(static_cast<size_t>(steps * d));
  for (int64_t s = 0; s < steps; ++s)
    fill_time_embedding(times[static_cast<size_t>(s)], d, embedding.data() + s * d);
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y));
  INTAGLIO_TRY(activate(y, d, d, Nonlinearity::kSilu));
  INTAGLIO_TRY(apply(time_out_, y, x));
  INTAGLIO_TRY(apply(adaln_proj_, x, y));
  INTAGLIO_TRY(activate(y, config_.adaln_dim, config_.adaln_dim, Nonlinearity::kSilu));

  StreamPass stream(context, streamer_.get(), modulations_);
  INTAGLIO_TRY(stream.begin());
  for (size_t i = 0; i < layers_.size(); ++i) {
    float* m = session.modulation_.as<float>() + static_cast<int64_t>(i) * steps * 4 * d;
    if (!modulations_.empty()) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(apply(layers_[i].modulation, y, m));
    if (!modulations_.empty()) INTAGLIO_TRY(stream.release());
    for (const int64_t gate : {1, 3})
      INTAGLIO_TRY(activate(m + gate * d, d, 4 * d, Nonlinearity::kTanh));
  }
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(activate(y, config_.adaln_dim, config_.adaln_dim, Nonlinearity::kSilu));
  return apply(final_modulation_, y, session.final_scale_.as<float>());
}

Status Transformer::select_step(const Context& context, TransformerSession& session,
                                int64_t step) const {
  if (step < 0 || step >= session.steps_) {
    return make_error(ErrorCode::kInvalidArgument, "transformer: step {} of a session of {}", step,
                      session.steps_);
  }
  const int64_t d = config_.width();
  const size_t row = static_cast<size_t>(4 * d) * sizeof(float);
  INTAGLIO_TRY(copy_inside(context, session.now_.data(),
                           session.modulation_.as<float>() + step * 4 * d,
                           {row, layers_.size(), row, row * static_cast<size_t>(session.steps_)}));
  return copy_inside(context, session.now_.as<float>() + config_.layers * 4 * d,
                     session.final_scale_.as<float>() + step * d,
                     static_cast<size_t>(d) * sizeof(float));
}

Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile) const {
  const Arena::Scope scope(*context.scratch);
  StreamPass stream(context, streamer_.get(), streamed_);
  INTAGLIO_TRY(stream.begin());
  const int64_t d = config_.width();
  const int64_t image_tokens = session.image_tokens();
  INTAGLIO_ASSIGN(BlockBuffers b,
                  take_block_buffers(*context.scratch,
                                     block_sizes(config_, options_.selection.activation_dtype(),
                                                 session.tokens())));
  float* const h_image = b.h + session.text_tokens_ * d;
  INTAGLIO_TRY(copy_inside(context, b.h, session.text_rows_.data(),
                           static_cast<size_t>(session.text_tokens_ * d) * sizeof(float)));
  {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, input_proj_, latents, DType::kF32, image_tokens,
                                    b.input, b.scale_row));
    const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
    INTAGLIO_TRY(linear(context, input_proj_, input, h_image, DType::kF32, d));
  }

  const Activation first_input = b.input_for(layers_.front().qkv);
  const NormDesc first_desc{NormKind::kRms, session.tokens(), d, config_.norm_eps,
                            first_input.dtype};
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, first_desc,
                      {.x = b.h,
                       .weight = layers_.front().attention_norm1.as<float>(),
                       .modulation = modulation_of(session, 0),
                       .out = first_input}));
  }
  Pace pace(context);
  for (size_t i = 0; i < layers_.size(); ++i) {
    INTAGLIO_TRY(pace.next());
    if (layers_[i].streams) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    INTAGLIO_TRY(layer_attention(context, session, i, b, profile));
    INTAGLIO_TRY(layer_feed_forward(context, session, i, b, profile));
    if (layers_[i].streams) INTAGLIO_TRY(stream.release());
  }
  INTAGLIO_TRY(stream.end());

  const Activation last{final_linear_.input_dtype(), b.input, image_tokens, d, b.scale_row};
  const NormDesc last_desc{NormKind::kLayer, image_tokens, d, kFinalNormEps, last.dtype};
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, last_desc,
                      {.x = h_image,
                       .weight = nullptr,
                       .modulation = modulation_of(session, layers_.size()),
                       .out = last}));
  }
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, last, velocity, DType::kF32, config_.channels);
}

// h += gate1 * rms_norm(out(attention(q, k, v)), attention_norm2); leaves the normed input of the feed-forward in b.input.
Status Transformer::layer_attention(const Context& context, const TransformerSession& session,
                                    size_t index, BlockBuffers& b, Profile* profile) const {
  const Layer& layer = layers_[index];
  const int64_t d = config_.width();
  const int64_t tokens = session.tokens();
  const float* const m = modulation_of(session, index);
  const Arena::Scope scope(*context.scratch);
  const AttentionDesc desc = attention_desc(context, tokens);
  S8Heads s8;
  if (desc.scores == AttentionScores::kS8) {
    INTAGLIO_ASSIGN(s8, take_s8_heads(*context.scratch, desc));
  }
  const size_t element = dtype_size(b.dtype);
  const auto column = [&](int64_t c) {
    return static_cast<std::byte*>(b.wide) + static_cast<size_t>(c) * element;
  };
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "qkv");
    INTAGLIO_TRY(linear(context, layer.qkv, b.input_for(layer.qkv), b.wide, b.dtype, 3 * d));
  }
  {
    const ProfileScope part(context, profile, ProfilePart::kRope);
    INTAGLIO_TRY(
        qk_norm_rope(context, desc,
                     {.q = column(0),
                      .k = column(d),
                      .ld = 3 * d,
                      .q_weight = layer.norm_q.as<float>(),
                      .k_weight = layer.norm_k.as<float>(),
                      .rope = {session.rope_cos_.as<float>(), session.rope_sin_.as<float>()},
                      .eps = config_.norm_eps,
                      .s8 = s8}));
  }
  // Attention writes straight into the next linear's input when the types agree.
  void* const attended = layer.out.input_dtype() == b.dtype ? b.input : b.narrow;
  {
    const ProfileScope part(context, profile, ProfilePart::kAttention);
    INTAGLIO_TRY(attention(context, desc,
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
                  as_linear_input(context, layer.out, attended, b.dtype, tokens, b.input,
                                  b.scale_row, profile, "attended"));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "out");
    INTAGLIO_TRY(linear(context, layer.out, input, b.narrow, b.dtype, d));
  }
  const ProfileScope part(context, profile, ProfilePart::kNorm, "residual");
  const Activation next = b.input_for(layer.w13);
  const NormDesc residual_desc{NormKind::kRms, tokens, d, config_.norm_eps, b.dtype};
  const NormDesc next_desc{NormKind::kRms, tokens, d, config_.norm_eps, next.dtype};
  const NormArgs next_args{
      .x = nullptr, .weight = layer.ffn_norm1.as<float>(), .modulation = m + 2 * d, .out = next};
  return gated_residual(context, residual_desc,
                        {.h = b.h,
                         .y = b.narrow,
                         .y_dtype = b.dtype,
                         .weight = layer.attention_norm2.as<float>(),
                         .gate = m + d},
                        &next_desc, &next_args);
}

// h += gate2 * rms_norm(w2(silu(w1(u)) * w3(u)), ffn_norm2); leaves the normed input of the next layer's attention, if there is one, in b.input.
Status Transformer::layer_feed_forward(const Context& context, const TransformerSession& session,
                                       size_t index, BlockBuffers& b, Profile* profile) const {
  const Layer& layer = layers_[index];
  const int64_t d = config_.width();
  const int64_t tokens = session.tokens();
  const int64_t hidden = layer.w13.out_cols();
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "w1w3");
    INTAGLIO_TRY(linear(context, layer.w13, b.input_for(layer.w13), b.wide, b.dtype, hidden));
  }
  INTAGLIO_ASSIGN(const Activation input,
                  as_linear_input(context, layer.w2, b.wide, b.dtype, tokens, b.input, b.scale_row,
                                  profile, "hidden"));
  {
    const ProfileScope part(context, profile, ProfilePart::kLinear, "w2");
    INTAGLIO_TRY(linear(context, layer.w2, input, b.narrow, b.dtype, d));
  }
  const ProfileScope part(context, profile, ProfilePart::kNorm, "residual");
  const NormDesc residual_desc{NormKind::kRms, tokens, d, config_.norm_eps, b.dtype};
  const GatedResidualArgs residual{.h = b.h,
                                   .y = b.narrow,
                                   .y_dtype = b.dtype,
                                   .weight = layer.ffn_norm2.as<float>(),
                                   .gate = modulation_of(session, index) + 3 * d};
  if (index + 1 == layers_.size())
    return gated_residual(context, residual_desc, residual, nullptr, nullptr);
  const Layer& following = layers_[index + 1];
  const Activation next = b.input_for(following.qkv);
  const NormDesc next_desc{NormKind::kRms, tokens, d, config_.norm_eps, next.dtype};
  const NormArgs next_args{.x = nullptr,
                           .weight = following.attention_norm1.as<float>(),
                           .modulation = modulation_of(session, index + 1),
                           .out = next};
  return gated_residual(context, residual_desc, residual, &next_desc, &next_args);
}

}  // namespace intaglio::ideogram4
