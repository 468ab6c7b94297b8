#include "models/qwen3/text_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/finite.h"
#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/block_buffers.h"
#include "models/parts/rope.h"
#include "models/parts/weight_streaming.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::qwen3 {
namespace {

// Names under which checkpoints keep the language model.
constexpr const char* kPrefixes[] = {"language_model.", "model.language_model.", "model.", ""};

BlockSizes block_sizes(const TextEncoderConfig& c, DType dtype, int64_t tokens) {
  const int64_t hidden = (c.intermediate + kSwigluGroup - 1) / kSwigluGroup * kSwigluGroup;
  const int64_t attended = c.heads * c.head_dim;
  return {tokens, c.hidden, std::max({c.hidden, hidden, attended}),
          std::max((c.heads + 2 * c.kv_heads) * c.head_dim, hidden), dtype};
}

AttentionDesc attention_desc(const TextEncoderConfig& c, DType dtype, int64_t tokens) {
  return {.tokens = tokens,
          .heads = c.heads,
          .kv_heads = c.kv_heads,
          .head_dim = c.head_dim,
          .causal = true,
          .dtype = dtype};
}

TensorShapes tensor_shapes(const TextEncoderConfig& c, const std::string& prefix, int64_t layers) {
  TensorShapes shapes;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  shapes.emplace_back(prefix + "embed_tokens.weight", Shape{c.vocab, c.hidden});
  for (int64_t i = 0; i < layers; ++i) {
    const std::string p = fmt::format("{}layers.{}.", prefix, i);
    shapes.emplace_back(p + "input_layernorm.weight", Shape{c.hidden});
    shapes.emplace_back(p + "self_attn.q_proj.weight", Shape{q, c.hidden});
    shapes.emplace_back(p + "self_attn.k_proj.weight", Shape{kv, c.hidden});
    shapes.emplace_back(p + "self_attn.v_proj.weight", Shape{kv, c.hidden});
    shapes.emplace_back(p + "self_attn.q_norm.weight", Shape{c.head_dim});
    shapes.emplace_back(p + "self_attn.k_norm.weight", Shape{c.head_dim});
    shapes.emplace_back(p + "self_attn.o_proj.weight", Shape{c.hidden, q});
    shapes.emplace_back(p + "post_attention_layernorm.weight", Shape{c.hidden});
    shapes.emplace_back(p + "mlp.gate_proj.weight", Shape{c.intermediate, c.hidden});
    shapes.emplace_back(p + "mlp.up_proj.weight", Shape{c.intermediate, c.hidden});
    shapes.emplace_back(p + "mlp.down_proj.weight", Shape{c.hidden, c.intermediate});
  }
  return shapes;
}

std::string prefix_in(const Checkpoint& checkpoint) {
  for (const char* prefix : kPrefixes)
    if (checkpoint.find(std::string(prefix) + "embed_tokens.weight") != nullptr) return prefix;
  return kPrefixes[0];
}

// What is added to a residual stream never makes it finite again, so the last layer's tells of all features, a small part of them.
Status check_finite(const Context& context, const float* h, int64_t count) {
  std::vector<float> copy;
  std::span<const float> values(h, static_cast<size_t>(count));
  if (context.gpu != nullptr) {
    copy.resize(values.size());
    INTAGLIO_TRY(copy_out(context, copy.data(), h, values.size_bytes()));
    values = copy;
  }
  if (all_finite(values)) return {};
  return make_error(ErrorCode::kUnsupported,
                    "the text encoder computed values that are not finite (an Inf or a NaN); its "
                    "weights may hold one, or its numbers are too large");
}

// qkv, out, gate_up and down of a layer.
std::array<LinearSizes, 4> layer_linears(const TextEncoderConfig& c,
                                         const LayerSelection& selection, const std::string& prefix,
                                         int64_t layer) {
  const auto kind = [&](std::vector<std::string> names) {
    for (std::string& name : names) name = fmt::format("{}layers.{}.{}", prefix, layer, name);
    return selection.kind_of(names);
  };
  const LinearKind gate_up = kind({"mlp.gate_proj", "mlp.up_proj"});
  const auto hidden = static_cast<int64_t>(
      gate_up == LinearKind::kS8 ? align_up(static_cast<size_t>(c.intermediate), kSwigluGroup)
                                 : static_cast<size_t>(c.intermediate));
  const int64_t q = c.heads * c.head_dim;
  const int64_t qkv = q + 2 * c.kv_heads * c.head_dim;
  const LinearKind qkv_kind = kind({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  return {LinearSizes{.kind = qkv_kind, .n = qkv, .k = c.hidden},
          LinearSizes{.kind = kind({"self_attn.o_proj"}), .n = c.hidden, .k = q},
          LinearSizes{
              .kind = gate_up, .epilogue = GemmEpilogue::kSwiglu, .n = 2 * hidden, .k = c.hidden},
          LinearSizes{.kind = kind({"mlp.down_proj"}), .n = c.hidden, .k = hidden}};
}

}  // namespace

std::vector<uint64_t> text_layer_bytes(const TextEncoderConfig& config,
                                       const LayerSelection& selection) {
  std::vector<uint64_t> bytes;
  for (int64_t i = 0; i <= config.taps.back(); ++i) {
    uint64_t sum = 0;
    for (const LinearSizes& linear : layer_linears(config, selection, kPrefixes[0], i))
      sum += packed_bytes(linear);
    bytes.push_back(sum);
  }
  return bytes;
}

Status check_text_encoder_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                  const TextEncoderConfig& config) {
  const std::string prefix = prefix_in(*checkpoint);
  INTAGLIO_TRY(
      refuse_layers_beyond(*checkpoint, prefix + "layers.", config.layers, "num_hidden_layers"));
  return CheckpointSource(std::move(checkpoint))
      .check(tensor_shapes(config, prefix, config.taps.back() + 1));
}

Expected<TextEncoder> TextEncoder::load(const Context& context, const PartFiles& files,
                                        const LayerSelection& selection,
                                        const JsonConfig* model_index, uint64_t weight_budget) {
  TextEncoder model;
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(files.config));
  INTAGLIO_ASSIGN(model.config_, parse_text_encoder_config(json, model_index));
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(files.weights));
  INTAGLIO_TRY(check_text_encoder_weights(checkpoint, model.config_));
  model.prefix_ = prefix_in(*checkpoint);
  model.dtype_ = selection.activation_dtype();
  model.selection_ = selection;
  const auto source = std::make_shared<CheckpointSource>(std::move(checkpoint));
  INTAGLIO_TRY(model.read_weights(context, source, weight_budget));
  model.unused_ = source->unused();
  return model;
}

Expected<TextEncoder> TextEncoder::synthetic(const Context& context,
                                             const TextEncoderConfig& config,
                                             const LayerSelection& selection, uint64_t seed,
                                             uint64_t weight_budget) {
  TextEncoder model;
  model.config_ = config;
  model.prefix_ = kPrefixes[0];
  model.dtype_ = selection.activation_dtype();
  model.selection_ = selection;
  const auto source = std::make_shared<SyntheticSource>(seed, context.cancel);
  INTAGLIO_TRY(model.read_weights(context, source, weight_budget));
  source->forget_cancel();
  return model;
}

Expected<TextEncoder> TextEncoder::describe(const Context& context, const TextEncoderConfig& config,
                                            const LayerSelection& selection) {
  TextEncoder model;
  model.config_ = config;
  model.prefix_ = kPrefixes[0];
  model.dtype_ = selection.activation_dtype();
  model.selection_ = selection;
  for (int64_t i = 0; i < model.active_layers(); ++i) {
    INTAGLIO_ASSIGN(Layer layer, model.describe_layer(context, i));
    model.layers_.push_back(std::move(layer));
  }
  return model;
}

Status TextEncoder::read_weights(const Context& context, std::shared_ptr<TensorSource> source,
                                 uint64_t weight_budget) {
  INTAGLIO_TRY(source->check(tensor_shapes(config_, prefix_, active_layers())));
  keep_alive_ = source->keep_alive();
  source_ = std::move(source);
  const std::vector<uint64_t> bytes = text_layer_bytes(config_, selection_);
  const bool all = context.gpu == nullptr || weight_budget == 0;
  uint64_t sum = 0;
  for (kept_ = 0; kept_ < active_layers(); ++kept_) {
    sum += bytes[static_cast<size_t>(kept_)];
    if (!all && sum > weight_budget) break;
    INTAGLIO_ASSIGN(Layer layer, read_layer(context, kept_));
    layers_.push_back(std::move(layer));
  }
  for (int64_t i = kept_; i < active_layers(); ++i) {
    INTAGLIO_ASSIGN(Layer layer, describe_layer(context, i));
    layers_.push_back(std::move(layer));
  }
  return {};
}

Expected<TextEncoder::Layer> TextEncoder::read_layer(const Context& context, int64_t index) const {
  const TextEncoderConfig& c = config_;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  ModuleLoader loader{context, *source_, selection_, fmt::format("{}layers.{}.", prefix_, index)};
  Layer layer;
  INTAGLIO_ASSIGN(layer.qkv,
                  loader.linear({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                {q, kv, kv}, c.hidden, false));
  INTAGLIO_ASSIGN(layer.out, loader.linear({"self_attn.o_proj"}, {c.hidden}, q, false));
  INTAGLIO_ASSIGN(layer.gate_up,
                  loader.swiglu("mlp.gate_proj", "mlp.up_proj", c.intermediate, c.hidden));
  INTAGLIO_ASSIGN(layer.down, loader.linear_padded("mlp.down_proj", c.hidden, c.intermediate,
                                                   layer.gate_up.out_cols()));
  INTAGLIO_ASSIGN(layer.input_norm, loader.vector("input_layernorm.weight", Shape{c.hidden}));
  INTAGLIO_ASSIGN(layer.post_norm,
                  loader.vector("post_attention_layernorm.weight", Shape{c.hidden}));
  INTAGLIO_ASSIGN(layer.norm_q, loader.vector("self_attn.q_norm.weight", Shape{c.head_dim}));
  INTAGLIO_ASSIGN(layer.norm_k, loader.vector("self_attn.k_norm.weight", Shape{c.head_dim}));
  return layer;
}

Expected<TextEncoder::Layer> TextEncoder::describe_layer(const Context& context,
                                                         int64_t index) const {
  const auto linears = layer_linears(config_, selection_, prefix_, index);
  Layer layer;
  INTAGLIO_ASSIGN(layer.qkv, describe_linear(context, linears[0]));
  INTAGLIO_ASSIGN(layer.out, describe_linear(context, linears[1]));
  INTAGLIO_ASSIGN(layer.gate_up, describe_linear(context, linears[2]));
  INTAGLIO_ASSIGN(layer.down, describe_linear(context, linears[3]));
  return layer;
}

size_t TextEncoder::weight_bytes() const {
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    for (const LinearWeights* w : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down})
      bytes += w->size_bytes();
  }
  return bytes;
}

size_t TextEncoder::scratch_bytes(const Context& context, int64_t tokens) const {
  size_t scratch = 0;
  for (const Layer& layer : layers_) {
    for (const LinearWeights* w : {&layer.qkv, &layer.out, &layer.gate_up, &layer.down}) {
      scratch = std::max(scratch, linear_scratch_bytes(context, *w, tokens, dtype_));
    }
  }
  const AttentionDesc desc = attention_desc(config_, dtype_, tokens);
  scratch = std::max(scratch, attention_scratch_bytes(context, desc));
  return block_buffer_bytes(block_sizes(config_, dtype_, tokens)) +
         2 * arena_bytes<float>(tokens * config_.head_dim / 2) + scratch;
}

Status TextEncoder::encode(const Context& context, std::span<const int32_t> ids,
                           float* features) const {
  const auto tokens = static_cast<int64_t>(ids.size());
  if (tokens == 0)
    return make_error(ErrorCode::kInvalidArgument, "text encoder: no tokens to encode");
  const Arena::Scope scope(*context.scratch);
  const int64_t rope_count = tokens * config_.head_dim / 2;
  INTAGLIO_ASSIGN(float* const cos, context.scratch->take<float>(rope_count));
  INTAGLIO_ASSIGN(float* const sin, context.scratch->take<float>(rope_count));
  std::vector<float> cosine(static_cast<size_t>(rope_count)), sine(cosine.size());
  fill_text_rope(plain_rope(config_.rope_theta, config_.head_dim), tokens, cosine.data(),
                 sine.data());
  INTAGLIO_TRY(copy_in(context, cos, cosine.data(), cosine.size() * sizeof(float)));
  INTAGLIO_TRY(copy_in(context, sin, sine.data(), sine.size() * sizeof(float)));
  INTAGLIO_ASSIGN(BlockBuffers b,
                  take_block_buffers(*context.scratch, block_sizes(config_, dtype_, tokens)));

  std::vector<int64_t> rows;
  for (int64_t t = 0; t < tokens; ++t) {
    const int32_t id = ids[static_cast<size_t>(t)];
    if (id < 0 || id >= config_.vocab) {
      return make_error(ErrorCode::kInvalidArgument,
                        "text encoder: token {} has id {}; expected 0 .. {}", t, id,
                        config_.vocab - 1);
    }
    rows.push_back(id);
  }
  std::vector<float> embedded(static_cast<size_t>(tokens * config_.hidden));
  INTAGLIO_TRY(source_->rows(prefix_ + "embed_tokens.weight", Shape{config_.vocab, config_.hidden},
                             rows, embedded.data()));
  INTAGLIO_TRY(copy_in(context, b.h, embedded.data(), embedded.size() * sizeof(float)));

  const auto taps = static_cast<int64_t>(config_.taps.size());
  int64_t tap = 0;
  Pace pace(context);
  for (int64_t i = 0; i < active_layers(); ++i) {
    INTAGLIO_TRY(pace.next());
    if (i < kept_) {
      INTAGLIO_TRY(run_layer(context, layers_[static_cast<size_t>(i)], tokens, cos, sin, b));
    } else {
      INTAGLIO_ASSIGN(const Layer layer, read_layer(context, i));
      INTAGLIO_TRY(run_layer(context, layer, tokens, cos, sin, b));
      INTAGLIO_TRY(synchronize(context));  // before its weights go
    }
    if (config_.taps[static_cast<size_t>(tap)] != i) continue;
    INTAGLIO_TRY(scatter_tap(context, b.h, {tokens, config_.hidden, taps, tap}, features));
    ++tap;
  }
  return check_finite(context, b.h, tokens * config_.hidden);
}

Status TextEncoder::run_layer(const Context& context, const Layer& layer, int64_t tokens,
                              const float* cos, const float* sin, BlockBuffers& b) const {
  const TextEncoderConfig& c = config_;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  const int64_t row = q + 2 * kv;
  const size_t element = dtype_size(b.dtype);
  const auto column = [&](int64_t offset) {
    return static_cast<std::byte*>(b.wide) + static_cast<size_t>(offset) * element;
  };
  const auto normed = [&](const AlignedBuffer& weight,
                          const LinearWeights& reader) -> Expected<Activation> {
    const Activation out = b.input_for(reader);
    const NormDesc desc{NormKind::kRms, tokens, c.hidden, c.norm_eps, out.dtype};
    INTAGLIO_TRY(norm(context, desc,
                      {.x = b.h, .weight = weight.as<float>(), .modulation = nullptr, .out = out}));
    return out;
  };

  INTAGLIO_ASSIGN(const Activation attention_input, normed(layer.input_norm, layer.qkv));
  INTAGLIO_TRY(linear(context, layer.qkv, attention_input, b.wide, b.dtype, row));
  const AttentionDesc desc = attention_desc(c, b.dtype, tokens);
  INTAGLIO_TRY(qk_norm_rope(context, desc,
                            {.q = column(0),
                             .k = column(q),
                             .ld = row,
                             .q_weight = layer.norm_q.as<float>(),
                             .k_weight = layer.norm_k.as<float>(),
                             .rope = {cos, sin},
                             .eps = c.norm_eps}));
  // The attended rows may be wider than the residual stream, so they go to `input`, which is sized for them; quantized ones are read out of it
  // row by row into `wide`, free by then.
  INTAGLIO_TRY(attention(context, desc,
                         {.q = column(0),
                          .k = column(q),
                          .v = column(q + kv),
                          .ldq = row,
                          .ldk = row,
                          .ldv = row,
                          .out = b.input}));
  INTAGLIO_ASSIGN(const Activation attended, as_linear_input(context, layer.out, b.input, b.dtype,
                                                             tokens, b.wide, b.scale_row));
  INTAGLIO_TRY(linear(context, layer.out, attended, b.narrow, b.dtype, c.hidden));
  INTAGLIO_TRY(add_in_place(context, b.h, b.narrow, b.dtype, tokens * c.hidden));

  INTAGLIO_ASSIGN(const Activation ffn_input, normed(layer.post_norm, layer.gate_up));
  INTAGLIO_TRY(
      linear(context, layer.gate_up, ffn_input, b.wide, b.dtype, layer.gate_up.out_cols()));
  INTAGLIO_ASSIGN(const Activation hidden, as_linear_input(context, layer.down, b.wide, b.dtype,
                                                           tokens, b.input, b.scale_row));
  INTAGLIO_TRY(linear(context, layer.down, hidden, b.narrow, b.dtype, c.hidden));
  return add_in_place(context, b.h, b.narrow, b.dtype, tokens * c.hidden);
}

}  // namespace intaglio::qwen3
