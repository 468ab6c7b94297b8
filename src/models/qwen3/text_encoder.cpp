#include "models/qwen3/text_encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/finite.h"
#include "core/large_copies.h"
#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/block_buffers.h"
#include "models/parts/modules.h"
#include "models/parts/packed_modules.h"
#include "models/parts/rope.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio::qwen3 {
namespace {

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

// Of the padding behind `real` tokens.
AttentionDesc padding_desc(const TextEncoderConfig& c, DType dtype, int64_t real, int64_t tokens) {
  AttentionDesc desc = attention_desc(c, dtype, tokens - real);
  desc.causal = false;
  desc.keys = real;
  return desc;
}

int64_t count_real(const TextEncoderConfig& c, std::span<const int32_t> ids) {
  while (c.padding >= 0 && !ids.empty() && ids.back() == kPadding) ids = ids.first(ids.size() - 1);
  return static_cast<int64_t>(ids.size());
}

// Of llama.cpp's layers.
constexpr const char* kBlocks = "blk.";

std::string prefix_in(const Checkpoint& checkpoint) {
  for (const char* prefix : kWeightPrefixes) {
    const std::string name = std::string(prefix) + "embed_tokens.weight";
    for (const std::string& stored : stored_names(name, weight_aliases()))
      if (checkpoint.find(stored) != nullptr) return prefix;
  }
  return kWeightPrefixes[0];
}

// What is added to a residual stream never makes it finite again, so the last layer's tells of all
// features, a small part of them.
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

}  // namespace

std::span<const ModuleAlias> weight_aliases() {
  static constexpr ModuleAlias kAliases[] = {
      {"embed_tokens", "token_embd"},
      {"norm", "output_norm"},
      {"lm_head", "output"},
      {"layers.*.input_layernorm", "blk.*.attn_norm"},
      {"layers.*.post_attention_layernorm", "blk.*.ffn_norm"},
      {"layers.*.self_attn.q_proj", "blk.*.attn_q"},
      {"layers.*.self_attn.k_proj", "blk.*.attn_k"},
      {"layers.*.self_attn.v_proj", "blk.*.attn_v"},
      {"layers.*.self_attn.o_proj", "blk.*.attn_output"},
      {"layers.*.self_attn.q_norm", "blk.*.attn_q_norm"},
      {"layers.*.self_attn.k_norm", "blk.*.attn_k_norm"},
      {"layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
      {"layers.*.mlp.up_proj", "blk.*.ffn_up"},
      {"layers.*.mlp.down_proj", "blk.*.ffn_down"}};
  return kAliases;
}

TextEncoder TextEncoder::sized(const TextEncoderConfig& config, const LayerSelection& selection,
                               std::string prefix) {
  TextEncoder model;
  model.config_ = config;
  model.prefix_ = std::move(prefix);
  model.dtype_ = selection.activation_dtype();
  model.selection_ = selection;
  return model;
}

Status TextEncoder::walk(ModuleVisitor& v) {
  v.set_prefix(prefix_);
  INTAGLIO_TRY(v.table("embed_tokens.weight", Shape{config_.vocab, config_.hidden}));
  layers_.resize(static_cast<size_t>(active_layers()));
  for (int64_t i = 0; i < active_layers(); ++i)
    INTAGLIO_TRY(walk_layer(v, i, layers_[static_cast<size_t>(i)]));
  return walk_final_norm(v);
}

Status TextEncoder::walk_final_norm(ModuleVisitor& v) {
  if (!config_.final_norm) return {};
  v.set_prefix(prefix_);
  return v.vector("norm.weight", Shape{config_.hidden}, final_norm_);
}

Status TextEncoder::walk_layer(ModuleVisitor& v, int64_t index, Layer& layer) const {
  const TextEncoderConfig& c = config_;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  v.begin_layer(index, fmt::format("{}layers.{}.", prefix_, index));
  INTAGLIO_TRY(v.linear({.names = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                         .rows = {q, kv, kv},
                         .k = c.hidden,
                         .bias = c.qkv_bias,
                         .residence = Residence::kLayer},
                        layer.qkv));
  INTAGLIO_TRY(v.linear(
      {.names = {"self_attn.o_proj"}, .rows = {c.hidden}, .k = q, .residence = Residence::kLayer},
      layer.out));
  INTAGLIO_TRY(v.linear({.names = {"mlp.gate_proj", "mlp.up_proj"},
                         .rows = {c.intermediate, c.intermediate},
                         .k = c.hidden,
                         .epilogue = GemmEpilogue::kSwiglu,
                         .residence = Residence::kLayer},
                        layer.gate_up));
  INTAGLIO_TRY(v.linear({.names = {"mlp.down_proj"},
                         .rows = {c.hidden},
                         .k = c.intermediate,
                         .residence = Residence::kLayer,
                         .padded_k = layer.gate_up.out_cols()},
                        layer.down));
  INTAGLIO_TRY(v.vector("input_layernorm.weight", Shape{c.hidden}, layer.input_norm));
  INTAGLIO_TRY(v.vector("post_attention_layernorm.weight", Shape{c.hidden}, layer.post_norm));
  if (!c.qk_norm) return {};
  INTAGLIO_TRY(v.vector("self_attn.q_norm.weight", Shape{c.head_dim}, layer.norm_q));
  return v.vector("self_attn.k_norm.weight", Shape{c.head_dim}, layer.norm_k);
}

TensorShapes text_encoder_tensor_shapes(const TextEncoderConfig& config,
                                        const std::string& prefix) {
  DeclareModules declare;
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(TextEncoder::sized(config, {}, prefix).walk(declare));
  return declare.shapes();
}

ModelWeights text_encoder_weights(const TextEncoderConfig& config,
                                  const LayerSelection& selection) {
  CountModules count(selection);
  static_cast<void>(TextEncoder::sized(config, selection, kWeightPrefixes[0]).walk(count));
  return count.weights();
}

namespace {

Expected<std::shared_ptr<CheckpointSource>> open_source(
    std::shared_ptr<const Checkpoint> checkpoint, const TextEncoderConfig& config) {
  const std::string prefix = prefix_in(*checkpoint);
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source,
                  CheckpointSource::open(std::move(checkpoint), weight_aliases()));
  for (const std::string& layers : {prefix + "layers.", prefix + kBlocks})
    INTAGLIO_TRY(source->refuse_layers_beyond(layers, config.layers, "num_hidden_layers"));
  INTAGLIO_TRY(source->check(text_encoder_tensor_shapes(config, prefix)));
  return source;
}

}  // namespace

Status check_text_encoder_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                  const TextEncoderConfig& config) {
  return open_source(std::move(checkpoint), config).map([](const auto&) {});
}

Expected<TextEncoder> TextEncoder::load(const Context& context,
                                        const std::filesystem::path& weights,
                                        const TextEncoderConfig& config,
                                        const LayerSelection& selection, uint64_t weight_budget) {
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(weights));
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source, open_source(checkpoint, config));
  TextEncoder model = sized(config, selection, prefix_in(*checkpoint));
  INTAGLIO_TRY(model.read_weights(context, std::move(source), weight_budget));
  return model;
}

Expected<TextEncoder> TextEncoder::synthetic(const Context& context,
                                             const TextEncoderConfig& config,
                                             const LayerSelection& selection, uint64_t seed,
                                             uint64_t weight_budget) {
  TextEncoder model = sized(config, selection, kWeightPrefixes[0]);
  const auto source = std::make_shared<SyntheticSource>(seed, context.cancel);
  INTAGLIO_TRY(model.read_weights(context, source, weight_budget));
  source->forget_cancel();
  return model;
}

Expected<TextEncoder> TextEncoder::describe(const Context& context, const TextEncoderConfig& config,
                                            const LayerSelection& selection) {
  TextEncoder model = sized(config, selection, kWeightPrefixes[0]);
  DescribeModules describe(context, model.selection_);
  INTAGLIO_TRY(model.walk(describe));
  return model;
}

Status TextEncoder::read_weights(const Context& context, std::shared_ptr<TensorSource> source,
                                 uint64_t weight_budget) {
  INTAGLIO_TRY(source->check(text_encoder_tensor_shapes(config_, prefix_)));
  const LargeCopies copies(context);
  keep_alive_ = source->keep_alive();
  source_ = std::move(source);
  const std::vector<uint64_t> bytes = text_encoder_weights(config_, selection_).layer_bytes;
  const bool all = context.gpu == nullptr || weight_budget == 0;
  PackedKey key(context, *source_, selection_, {});
  INTAGLIO_TRY(walk(key));
  PackedModules prepare(context, *source_, selection_, {}, {},
                        all ? PackedStore::open(context, *source_, key) : nullptr,
                        read_ahead_of(*source_, key, weight_aliases()));
  uint64_t sum = 0;
  for (kept_ = 0; kept_ < active_layers(); ++kept_) {
    sum += bytes[static_cast<size_t>(kept_)];
    if (!all && sum > weight_budget) break;
    Layer layer;
    INTAGLIO_TRY(walk_layer(prepare, kept_, layer));
    layers_[static_cast<size_t>(kept_)] = std::move(layer);
  }
  INTAGLIO_TRY(walk_final_norm(prepare));
  keep_alive_ = prepare.finish(std::move(keep_alive_));
  DescribeModules describe(context, selection_);
  for (int64_t i = kept_; i < active_layers(); ++i)
    INTAGLIO_TRY(walk_layer(describe, i, layers_[static_cast<size_t>(i)]));
  return {};
}

Expected<TextEncoder::Layer> TextEncoder::read_layer(const Context& context, int64_t index) const {
  PrepareModules prepare(context, *source_, selection_);
  Layer layer;
  INTAGLIO_TRY(walk_layer(prepare, index, layer));
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
  scratch = std::max(scratch, attention_bytes(context, tokens));
  if (config_.final_norm) scratch = std::max(scratch, arena_bytes<float>(tokens * config_.hidden));
  return block_buffer_bytes(block_sizes(config_, dtype_, tokens)) +
         2 * arena_bytes<float>(tokens * config_.head_dim / 2) + scratch;
}

// Of a text of so many tokens, wherever its padding begins.
size_t TextEncoder::attention_bytes(const Context& context, int64_t tokens) const {
  size_t most = attention_scratch_bytes(context, attention_desc(config_, dtype_, tokens));
  for (int64_t real = 1; config_.padding >= 0 && real < tokens; ++real) {
    most =
        std::max({most, attention_scratch_bytes(context, attention_desc(config_, dtype_, real)),
                  attention_scratch_bytes(context, padding_desc(config_, dtype_, real, tokens))});
  }
  return most;
}

Status TextEncoder::encode(const Context& context, std::span<const int32_t> ids,
                           float* features) const {
  const auto tokens = static_cast<int64_t>(ids.size());
  const int64_t real = count_real(config_, ids);
  if (real == 0)
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
    const int32_t id = t < real ? ids[static_cast<size_t>(t)] : config_.padding;
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

  int64_t tap = 0;
  if (config_.taps.front() < 0) INTAGLIO_TRY(write_tap(context, b.h, tokens, tap++, features));
  Pace pace(context);
  for (int64_t i = 0; i < active_layers(); ++i) {
    INTAGLIO_TRY(pace.next());
    if (i < kept_) {
      INTAGLIO_TRY(run_layer(context, layers_[static_cast<size_t>(i)], real, {cos, sin}, b));
    } else {
      INTAGLIO_ASSIGN(const Layer layer, read_layer(context, i));
      INTAGLIO_TRY(run_layer(context, layer, real, {cos, sin}, b));
      INTAGLIO_TRY(synchronize(context));  // before its weights go
    }
    if (config_.taps[static_cast<size_t>(tap)] != i) continue;
    INTAGLIO_TRY(write_tap(context, b.h, tokens, tap++, features));
  }
  return check_finite(context, b.h, tokens * config_.hidden);
}

Status TextEncoder::write_tap(const Context& context, const float* h, int64_t rows, int64_t tap,
                              float* features) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t hidden = config_.hidden;
  const auto taps = static_cast<int64_t>(config_.taps.size());
  if (config_.final_norm && tap + 1 == taps) {
    INTAGLIO_ASSIGN(float* const normed, context.scratch->take<float>(rows * hidden));
    const Activation out{.data = normed, .rows = rows, .cols = hidden};
    INTAGLIO_TRY(
        norm(context, norm_into(NormKind::kRms, config_.norm_eps, out),
             {.x = h, .weight = final_norm_.as<float>(), .modulation = nullptr, .out = out}));
    h = normed;
  }
  return scatter_tap(context, {.h = h,
                               .features = features,
                               .rows = rows,
                               .cols = hidden,
                               .ld = hidden * taps,
                               .channel_stride = config_.side_by_side ? 1 : taps,
                               .offset = config_.side_by_side ? tap * hidden : tap});
}

// Of q | k | v in b.wide, to b.input: the attended rows may be wider than the residual stream, and
// `input` is sized for them.
Status TextEncoder::attend(const Context& context, int64_t real, const BlockBuffers& b) const {
  const TextEncoderConfig& c = config_;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  const int64_t row = q + 2 * kv;
  const auto at = [&](void* base, int64_t offset) {
    return static_cast<std::byte*>(base) + static_cast<size_t>(offset) * dtype_size(b.dtype);
  };
  AttentionArgs args{.q = b.wide,
                     .k = at(b.wide, q),
                     .v = at(b.wide, q + kv),
                     .ldq = row,
                     .ldk = row,
                     .ldv = row,
                     .out = b.input};
  INTAGLIO_TRY(attention(context, attention_desc(c, b.dtype, real), args));
  if (real == b.tokens) return {};
  args.q = at(b.wide, real * row);
  args.out = at(b.input, real * q);
  return attention(context, padding_desc(c, b.dtype, real, b.tokens), args);
}

Status TextEncoder::run_layer(const Context& context, const Layer& layer, int64_t real,
                              const RopeTable& rope, BlockBuffers& b) const {
  const TextEncoderConfig& c = config_;
  const int64_t tokens = b.tokens;
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  const int64_t row = q + 2 * kv;
  const size_t element = dtype_size(b.dtype);
  const auto column = [&](int64_t offset) {
    return static_cast<std::byte*>(b.wide) + static_cast<size_t>(offset) * element;
  };
  const auto normed = [&](const AlignedBuffer& weight,
                          const LinearWeights& reader) -> Expected<Activation> {
    const Activation out = b.norm_output(reader);
    const NormDesc desc = norm_into(NormKind::kRms, c.norm_eps, out);
    INTAGLIO_TRY(norm(context, desc,
                      {.x = b.h, .weight = weight.as<float>(), .modulation = nullptr, .out = out}));
    INTAGLIO_TRY(quantize_normed(context, reader, b));
    return b.input_for(reader);
  };

  INTAGLIO_ASSIGN(const Activation attention_input, normed(layer.input_norm, layer.qkv));
  INTAGLIO_TRY(linear(context, layer.qkv, attention_input, b.wide, b.dtype, row));
  const AttentionDesc desc = attention_desc(c, b.dtype, tokens);
  INTAGLIO_TRY(qk_norm_rope(context, desc,
                            {.q = column(0),
                             .k = column(q),
                             .ld = row,
                             .q_weight = c.qk_norm ? layer.norm_q.as<float>() : nullptr,
                             .k_weight = c.qk_norm ? layer.norm_k.as<float>() : nullptr,
                             .rope = rope,
                             .eps = c.norm_eps}));
  INTAGLIO_TRY(attend(context, real, b));
  // Quantized rows are read out of `input` one by one into `wide`, free by now.
  INTAGLIO_ASSIGN(const Activation attended, as_linear_input(context, layer.out, b.input, b.dtype,
                                                             tokens, b.wide, b.scale_row));
  INTAGLIO_TRY(linear(context, layer.out, attended, b.narrow, b.dtype, c.hidden));
  const AddInPlace residual{b.h, b.narrow, b.dtype, tokens * c.hidden};
  INTAGLIO_TRY(add_in_place(context, residual));

  INTAGLIO_ASSIGN(const Activation ffn_input, normed(layer.post_norm, layer.gate_up));
  INTAGLIO_TRY(
      linear(context, layer.gate_up, ffn_input, b.wide, b.dtype, layer.gate_up.out_cols()));
  INTAGLIO_ASSIGN(const Activation hidden, as_linear_input(context, layer.down, b.wide, b.dtype,
                                                           tokens, b.input, b.scale_row));
  INTAGLIO_TRY(linear(context, layer.down, hidden, b.narrow, b.dtype, c.hidden));
  return add_in_place(context, residual);
}

}  // namespace intaglio::qwen3
