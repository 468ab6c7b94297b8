#include "models/ideogram4/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/memory.h"
#include "core/pace.h"
#include "models/ideogram4/rope.h"
#include "ops/elementwise.h"
#include "ops/norm.h"
#include "ops/quantize.h"

namespace intaglio::ideogram4 {
namespace {

constexpr float kTextNormEps = 1e-6f;
constexpr float kFinalNormEps = 1e-6f;
constexpr double kTimeScale = 1e4;
constexpr double kTimeMaxPeriod = 1e4;

// [sin, cos] of s * exp(-ln(1e4) j / (half - 1)), s = 1e4 t, j = 0 .. half - 1. Angles reach 1e4:
// formed in float64.
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

}  // namespace

// Of the reference package, ComfyUI and GGUF.
std::span<const ModuleAlias> Transformer::aliases() const {
  static constexpr ModuleAlias kAliases[] = {{"attention.to_q", "attention.qkv", 0, 3},
                                             {"attention.to_k", "attention.qkv", 1, 3},
                                             {"attention.to_v", "attention.qkv", 2, 3},
                                             {"attention.to_out.0", "attention.o"}};
  return kAliases;
}

Status Transformer::walk(ModuleVisitor& v) {
  const TransformerConfig& c = config_;
  const int64_t d = c.width();
  const int64_t a = c.adaln_dim;
  // The indicator rows are constants added to every text and image token: part of the projections'
  // bias.
  std::vector<float> indicator;
  INTAGLIO_TRY(v.host_vector("embed_image_indicator.weight", Shape{2, d}, indicator));
  const std::span<const float> of_text = std::span(indicator).first(indicator.size() / 2);
  const std::span<const float> of_image = std::span(indicator).last(indicator.size() / 2);
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights,
                          std::span<const float> added = {}) {
    return v.linear({.names = {name}, .rows = {n}, .k = k, .bias = true, .added_bias = added},
                    weights);
  };
  INTAGLIO_TRY(single("input_proj", d, c.channels, input_proj_, of_image));
  INTAGLIO_TRY(single("t_embedding.mlp_in", d, d, time_in_));
  INTAGLIO_TRY(single("t_embedding.mlp_out", d, d, time_out_));
  INTAGLIO_TRY(single("adaln_proj", a, d, adaln_proj_));
  INTAGLIO_TRY(single("final_layer.adaln_modulation", d, a, final_modulation_));
  INTAGLIO_TRY(single("final_layer.linear", c.channels, d, final_linear_));
  if (with_text_) {
    INTAGLIO_TRY(v.linear({.names = {"llm_cond_proj"},
                           .rows = {d},
                           .k = c.text_dim,
                           .bias = true,
                           .added_bias = of_text,
                           .quantized = true,
                           .label = "text_in",
                           .tokens = LinearRows::kText,
                           .input_scale = {InputScale::Of::kVector, "llm_cond_norm.weight"}},
                          text_proj_));
    INTAGLIO_TRY(v.vector("llm_cond_norm.weight", Shape{c.text_dim}, text_norm_));
  }
  layers_.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    Layer& layer = layers_[static_cast<size_t>(i)];
    v.begin_layer(i, fmt::format("layers.{}.", i));
    INTAGLIO_TRY(
        walk_gated_block(v, block_sizes(), Residence::kLayer, LinearRows::kSequence, layer.block));
    INTAGLIO_TRY(v.linear({.names = {"adaln_modulation"},
                           .rows = {4 * d},
                           .k = a,
                           .bias = true,
                           .residence = Residence::kOnce},
                          layer.modulation));
  }
  return {};
}

GatedBlockSizes Transformer::block_sizes() const {
  return {.heads = config_.heads,
          .head_dim = config_.head_dim,
          .intermediate = config_.intermediate,
          .norm_eps = config_.norm_eps,
          .qk_norm_eps = config_.norm_eps};
}

BlockSizes Transformer::buffer_sizes(int64_t rows) const {
  return gated_block_buffers(block_sizes(), selection().activation_dtype(), rows, config_.channels);
}

AttentionDesc Transformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = config_.heads,
                               .kv_heads = config_.heads,
                               .head_dim = config_.head_dim,
                               .causal = false,
                               .dtype = selection().activation_dtype()});
}

SessionTables Transformer::session_tables() const {
  return {.text_width = config_.width(),
          .angles = config_.head_dim / 2,
          .blocks = config_.layers,
          .block = 4 * config_.width(),
          .last = config_.width()};
}

void Transformer::fill_rope(const TransformerSession& session, float* cos, float* sin) const {
  const PassSize& size = session.size();
  fill_image_rope(config_, size.text_tokens, size.grid_h, size.grid_w, cos, sin);
}

size_t Transformer::forward_bytes(const Context& context, const PassSize& size) const {
  const AttentionDesc desc = attention_desc(context, sequence(size).all());
  const PassRows rows = pass_rows(size);
  size_t scratch = std::max(linear_scratch_bytes(context, input_proj_, rows.image, DType::kF32),
                            linear_scratch_bytes(context, final_linear_, rows.image, DType::kF32));
  for (const Layer& layer : layers_)
    scratch = std::max(scratch, gated_block_scratch(context, layer.block, desc, size.split));
  return block_buffer_bytes(buffer_sizes(rows.all())) + scratch;
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
  if (text_tokens == 0 || !with_text_) return time_bytes;
  const size_t text_bytes = arena_bytes<float>(text_tokens * config_.text_dim) +
                            arena_bytes<float>(text_tokens) +
                            linear_scratch_bytes(context, text_proj_, text_tokens, DType::kF32);
  return std::max(time_bytes, text_bytes);
}

size_t Transformer::scratch_bytes(const Context& context, const PassSize& size,
                                  int64_t steps) const {
  return std::max(forward_bytes(context, size), prepare_bytes(context, size.text_tokens, steps));
}

Status Transformer::embed_text(const Context& context, const TextInput& text,
                               TransformerSession& session) const {
  if (!with_text_) {
    return make_error(ErrorCode::kInvalidArgument,
                      "transformer: {} text tokens given to a model loaded without text",
                      text.tokens);
  }
  const Arena::Scope scope(*context.scratch);
  const int64_t rows = text.tokens;
  const int64_t values = rows * config_.text_dim;
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(values));
  INTAGLIO_ASSIGN(float* const scale_row, context.scratch->take<float>(rows));
  // Rows of the type in between, if the projection needs such, and what it reads behind them:
  // both have room in so many floats.
  const bool turns = text_proj_.needs_float_rows();
  const DType between = selection().activation_dtype();
  std::byte* const input = reinterpret_cast<std::byte*>(storage) +
                           (turns ? static_cast<size_t>(values) * dtype_size(between) : 0);
  Activation normed = text_proj_.input_at(input, rows, scale_row);
  normed.floats = storage;
  normed.floats_dtype = between;
  const Activation out =
      turns ? Activation{between, storage, rows, config_.text_dim, nullptr} : normed;
  const NormDesc desc = norm_into(NormKind::kRms, kTextNormEps, out);
  INTAGLIO_TRY(norm(
      context, desc,
      {.x = text.features, .weight = text_norm_.as<float>(), .modulation = nullptr, .out = out}));
  if (turns) {
    INTAGLIO_TRY(quantize_rows(context, {storage, between, {rows, config_.text_dim}}, normed,
                               text_proj_.columns()));
  }
  return linear(context, text_proj_, normed, session.text(), DType::kF32, config_.width());
}

Status Transformer::embed_times(const Context& context, std::span<const float> times,
                                TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = config_.width();
  const int64_t steps = session.steps();
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

  const bool streams = !once().empty();
  StreamPass stream = once_pass(context, once());
  INTAGLIO_TRY(stream.begin());
  for (size_t i = 0; i < layers_.size(); ++i) {
    float* m = session.block_modulations(static_cast<int64_t>(i));
    if (streams) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(apply(layers_[i].modulation, y, m));
    if (streams) INTAGLIO_TRY(stream.release());
    for (const int64_t gate : {1, 3})
      INTAGLIO_TRY(activate(m + gate * d, d, 4 * d, Nonlinearity::kTanh));
  }
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(activate(y, config_.adaln_dim, config_.adaln_dim, Nonlinearity::kSilu));
  return apply(final_modulation_, y, session.last_modulations());
}

Status Transformer::forward(const Context& context, const TransformerSession& session,
                            const float* latents, float* velocity, Profile* profile,
                            const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const size_t count = cache.last_of(layers_.size());
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  const int64_t d = config_.width();
  const PassRows& rows = session.pass_rows();
  const int64_t first_value = rows.first_image_token * config_.channels;
  INTAGLIO_ASSIGN(BlockBuffers b, take_block_buffers(*context.scratch, buffer_sizes(rows.all())));
  float* const h_image = b.h + rows.text * d;
  if (rows.text > 0)
    INTAGLIO_TRY(copy_inside(context, b.h, session.text() + rows.first_text * d,
                             static_cast<size_t>(rows.text * d) * sizeof(float)));
  if (rows.image > 0) {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, input_proj_, latents + first_value, DType::kF32,
                                    rows.image, b.input, b.scale_row));
    const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
    INTAGLIO_TRY(linear(context, input_proj_, input, h_image, DType::kF32, d));
  }

  const GatedBlockSizes sizes = block_sizes();
  INTAGLIO_TRY(begin_gated_blocks(context, sizes, layers_.front().block,
                                  session.block_modulation(0), b, profile));
  Pace pace(context);
  for (size_t i = 0; i < count; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, h_image, rows.image * d));
    if (streams(i)) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    const bool is_last = i + 1 == count;
    const auto block = static_cast<int64_t>(i);
    INTAGLIO_TRY(run_gated_block(
        context, sizes, layers_[i].block,
        {.attention = {.desc = attention_desc(context, session.rows().all()),
                       .collective = session.collective()},
         .rope = session.rope(rows.first),
         .modulation = session.block_modulation(block),
         .next = is_last ? nullptr : &layers_[i + 1].block,
         .next_modulation = is_last ? nullptr : session.block_modulation(block + 1)},
        b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(cache.finish(context, h_image, rows.image * d));

  if (rows.image == 0) return {};
  const Activation last = final_linear_.input_at(b.input, rows.image, b.scale_row);
  const NormDesc last_desc = norm_into(NormKind::kLayer, kFinalNormEps, last);
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(
        context, last_desc,
        {.x = h_image, .weight = nullptr, .modulation = session.last_modulation(), .out = last}));
  }
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, last, velocity + first_value, DType::kF32,
                config_.channels);
}

}  // namespace intaglio::ideogram4
