// Weights of the Ideogram 4 transformer: names, shapes, preparation.
#include <fmt/format.h>

#include <algorithm>

#include "models/ideogram4/transformer.h"
#include "models/parts/weights.h"

namespace intaglio::ideogram4 {

Status check_transformer_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                 const TransformerConfig& config, bool with_text) {
  INTAGLIO_TRY(refuse_layers_beyond(*checkpoint, "layers.", config.layers, "num_layers"));
  return CheckpointSource(std::move(checkpoint))
      .check(transformer_tensor_shapes(config, with_text));
}

Expected<Transformer> Transformer::load(const Context& context, const PartFiles& files,
                                        const LoadOptions& options) {
  Transformer model;
  model.options_ = options;
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(files.config));
  INTAGLIO_ASSIGN(model.config_, parse_transformer_config(json));
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(files.weights));
  INTAGLIO_TRY(check_transformer_weights(checkpoint, model.config_, options.with_text));
  CheckpointSource source(std::move(checkpoint));
  INTAGLIO_TRY(model.read_weights(context, source));
  model.unused_ = source.unused();
  return model;
}

Expected<Transformer> Transformer::synthetic(const Context& context,
                                             const TransformerConfig& config,
                                             const LoadOptions& options, uint64_t seed) {
  Transformer model;
  model.options_ = options;
  model.config_ = config;
  SyntheticSource source(seed, context.cancel);
  INTAGLIO_TRY(model.read_weights(context, source));
  return model;
}

namespace {

constexpr size_t kQkv = 0, kOut = 1, kW13 = 2, kW2 = 3;

}  // namespace

std::array<LinearSizes, 4> transformer_layer_linears(const TransformerConfig& config,
                                                     const LayerSelection& selection, int64_t layer,
                                                     DeviceKind device) {
  const int64_t d = config.width();
  const auto kind = [&](const std::vector<std::string>& names) {
    std::vector<std::string> full;
    for (const std::string& name : names) full.push_back(fmt::format("layers.{}.{}", layer, name));
    return selection.kind_of(full);
  };
  const LinearKind w13 = kind({"feed_forward.w1", "feed_forward.w3"});
  // The int8 kernels read gate and up in turns of a group of rows.
  const auto hidden =
      static_cast<int64_t>(kind_at_size(device, w13, 2 * config.intermediate, d) == LinearKind::kS8
                               ? align_up(static_cast<size_t>(config.intermediate), kSwigluGroup)
                               : static_cast<size_t>(config.intermediate));
  return {
      LinearSizes{
          .kind = kind({"attention.to_q", "attention.to_k", "attention.to_v"}), .n = 3 * d, .k = d},
      LinearSizes{.kind = kind({"attention.to_out.0"}), .n = d, .k = d},
      LinearSizes{.kind = w13, .epilogue = GemmEpilogue::kSwiglu, .n = 2 * hidden, .k = d},
      LinearSizes{.kind = kind({"feed_forward.w2"}), .n = d, .k = hidden}};
}

std::vector<uint64_t> transformer_layer_bytes(const TransformerConfig& config,
                                              const LayerSelection& selection) {
  std::vector<uint64_t> bytes;
  for (int64_t i = 0; i < config.layers; ++i) {
    uint64_t sum = 0;
    for (const LinearSizes& linear : transformer_layer_linears(config, selection, i))
      sum += packed_bytes(linear);
    bytes.push_back(sum);
  }
  return bytes;
}

std::vector<uint64_t> transformer_modulation_bytes(const TransformerConfig& config,
                                                   const LayerSelection& selection) {
  std::vector<uint64_t> bytes;
  for (int64_t i = 0; i < config.layers; ++i) {
    bytes.push_back(
        packed_bytes({.kind = selection.kind_of(fmt::format("layers.{}.adaln_modulation", i)),
                      .n = 4 * config.width(),
                      .k = config.adaln_dim}));
  }
  return bytes;
}

Expected<Transformer> Transformer::describe(const Context& context, const TransformerConfig& config,
                                            const LoadOptions& options) {
  Transformer model;
  model.config_ = config;
  model.options_ = options;
  const int64_t d = config.width();
  const int64_t a = config.adaln_dim;
  const auto single = [&](const std::string& name, int64_t n, int64_t k, LinearWeights& target) {
    return describe_linear(context, {.kind = options.selection.kind_of(name), .n = n, .k = k})
        .map([&](LinearWeights&& weights) { target = std::move(weights); });
  };
  INTAGLIO_TRY(single("input_proj", d, config.channels, model.input_proj_));
  INTAGLIO_TRY(single("t_embedding.mlp_in", d, d, model.time_in_));
  INTAGLIO_TRY(single("t_embedding.mlp_out", d, d, model.time_out_));
  INTAGLIO_TRY(single("adaln_proj", a, d, model.adaln_proj_));
  INTAGLIO_TRY(single("final_layer.adaln_modulation", d, a, model.final_modulation_));
  INTAGLIO_TRY(single("final_layer.linear", config.channels, d, model.final_linear_));
  if (options.with_text)
    INTAGLIO_TRY(single("llm_cond_proj", d, config.text_dim, model.text_proj_));
  model.layers_.resize(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    Layer& layer = model.layers_[static_cast<size_t>(i)];
    const auto linears =
        transformer_layer_linears(config, options.selection, i, device_kind(context));
    INTAGLIO_ASSIGN(layer.qkv, describe_linear(context, linears[kQkv]));
    INTAGLIO_ASSIGN(layer.out, describe_linear(context, linears[kOut]));
    INTAGLIO_ASSIGN(layer.w13, describe_linear(context, linears[kW13]));
    INTAGLIO_ASSIGN(layer.w2, describe_linear(context, linears[kW2]));
    INTAGLIO_TRY(single(fmt::format("layers.{}.adaln_modulation", i), 4 * d, a, layer.modulation));
  }
  return model;
}

// Sets `streams` of every layer, and the slots, which the AdaLN weights need in any case.
Status Transformer::choose_streamed_layers(const Context& context) {
  if (context.gpu == nullptr) return {};
  const StreamingChoice choice =
      choose_streamed(transformer_layer_bytes(config_, options_.selection), options_.weight_budget);
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].streams = choice.streams[i];
  streamed_.reserve(choice.count);
  streamer_ = options_.streamer;
  if (streamer_ != nullptr) return {};
  const std::vector<uint64_t> modulations =
      transformer_modulation_bytes(config_, options_.selection);
  const uint64_t slot_bytes =
      std::max(choice.slot_bytes, *std::max_element(modulations.begin(), modulations.end()));
  INTAGLIO_ASSIGN(streamer_, WeightStreamer::make(context, kStreamSlots, slot_bytes));
  return {};
}

// Moves weights of a streamed layer, prepared on the device, to host memory before the next are made: there is room for no more.
Status Transformer::stream_if_chosen(const Context& context, const Layer& layer,
                                     LinearWeights& weights) {
  return layer.streams ? streamer_->take(context, weights, streamed_.back()) : Status{};
}

Status Transformer::read_weights(const Context& context, TensorSource& source) {
  const TransformerConfig& c = config_;
  const int64_t d = c.width();
  const int64_t a = c.adaln_dim;
  // Everything is checked before anything is prepared, so that the list of problems is complete and comes at once.
  INTAGLIO_TRY(source.check(transformer_tensor_shapes(c, options_.with_text)));
  keep_alive_ = source.keep_alive();

  ModuleLoader loader{context, source, options_.selection};
  // The indicator rows are constants added to every text and image token: part of the projections' bias.
  INTAGLIO_ASSIGN(const std::vector<float> indicator,
                  loader.host_vector("embed_image_indicator.weight", Shape{2, d}));
  const std::span<const float> indicators(indicator);
  const auto width = static_cast<size_t>(d);
  INTAGLIO_ASSIGN(input_proj_, loader.linear({"input_proj"}, {d}, c.channels, true,
                                             indicators.subspan(width, width)));
  INTAGLIO_ASSIGN(time_in_, loader.linear({"t_embedding.mlp_in"}, {d}, d, true));
  INTAGLIO_ASSIGN(time_out_, loader.linear({"t_embedding.mlp_out"}, {d}, d, true));
  INTAGLIO_ASSIGN(adaln_proj_, loader.linear({"adaln_proj"}, {a}, d, true));
  INTAGLIO_ASSIGN(final_modulation_, loader.linear({"final_layer.adaln_modulation"}, {d}, a, true));
  INTAGLIO_ASSIGN(final_linear_, loader.linear({"final_layer.linear"}, {c.channels}, d, true));
  if (options_.with_text) {
    INTAGLIO_ASSIGN(text_proj_, loader.linear({"llm_cond_proj"}, {d}, c.text_dim, true,
                                              indicators.subspan(0, width)));
    INTAGLIO_ASSIGN(text_norm_, loader.vector("llm_cond_norm.weight", Shape{c.text_dim}));
  }
  layers_.resize(static_cast<size_t>(c.layers));
  INTAGLIO_TRY(choose_streamed_layers(context));
  for (int64_t i = 0; i < c.layers; ++i) INTAGLIO_TRY(read_layer(context, source, i));
  return {};
}

Status Transformer::read_layer(const Context& context, TensorSource& source, int64_t index) {
  const int64_t d = config_.width();
  const int64_t f = config_.intermediate;
  ModuleLoader loader{context, source, options_.selection, fmt::format("layers.{}.", index)};
  Layer& layer = layers_[static_cast<size_t>(index)];
  if (layer.streams)
    streamed_.push_back({.parts = {}, .slot = streamed_.size() % streamer_->slots()});
  INTAGLIO_ASSIGN(layer.qkv, loader.linear({"attention.to_q", "attention.to_k", "attention.to_v"},
                                           {d, d, d}, d, false));
  INTAGLIO_TRY(stream_if_chosen(context, layer, layer.qkv));
  INTAGLIO_ASSIGN(layer.out, loader.linear({"attention.to_out.0"}, {d}, d, false));
  INTAGLIO_TRY(stream_if_chosen(context, layer, layer.out));
  INTAGLIO_ASSIGN(layer.w13, loader.swiglu("feed_forward.w1", "feed_forward.w3", f, d));
  INTAGLIO_TRY(stream_if_chosen(context, layer, layer.w13));
  INTAGLIO_ASSIGN(layer.w2, loader.linear_padded("feed_forward.w2", d, f, layer.w13.out_cols()));
  INTAGLIO_TRY(stream_if_chosen(context, layer, layer.w2));
  INTAGLIO_ASSIGN(layer.modulation,
                  loader.linear({"adaln_modulation"}, {4 * d}, config_.adaln_dim, true));
  if (streamer_ != nullptr) {
    modulations_.push_back({.parts = {}, .slot = modulations_.size() % streamer_->slots()});
    INTAGLIO_TRY(streamer_->take(context, layer.modulation, modulations_.back()));
  }
  INTAGLIO_ASSIGN(layer.attention_norm1, loader.vector("attention_norm1.weight", Shape{d}));
  INTAGLIO_ASSIGN(layer.attention_norm2, loader.vector("attention_norm2.weight", Shape{d}));
  INTAGLIO_ASSIGN(layer.ffn_norm1, loader.vector("ffn_norm1.weight", Shape{d}));
  INTAGLIO_ASSIGN(layer.ffn_norm2, loader.vector("ffn_norm2.weight", Shape{d}));
  INTAGLIO_ASSIGN(layer.norm_q, loader.vector("attention.norm_q.weight", Shape{config_.head_dim}));
  INTAGLIO_ASSIGN(layer.norm_k, loader.vector("attention.norm_k.weight", Shape{config_.head_dim}));
  return {};
}

TensorShapes transformer_tensor_shapes(const TransformerConfig& c, bool with_text) {
  const int64_t d = c.width();
  const int64_t a = c.adaln_dim;
  const int64_t f = c.intermediate;
  TensorShapes shapes;
  const auto add = [&](std::string name, Shape shape) {
    shapes.emplace_back(std::move(name), shape);
  };
  const auto add_biased = [&](const std::string& name, int64_t n, int64_t k) {
    add(name + ".weight", Shape{n, k});
    add(name + ".bias", Shape{n});
  };
  add_biased("input_proj", d, c.channels);
  add_biased("t_embedding.mlp_in", d, d);
  add_biased("t_embedding.mlp_out", d, d);
  add_biased("adaln_proj", a, d);
  add_biased("final_layer.adaln_modulation", d, a);
  add_biased("final_layer.linear", c.channels, d);
  add("embed_image_indicator.weight", Shape{2, d});
  if (with_text) {
    add_biased("llm_cond_proj", d, c.text_dim);
    add("llm_cond_norm.weight", Shape{c.text_dim});
  }
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string p = fmt::format("layers.{}.", i);
    for (const char* name :
         {"attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"}) {
      add(p + name + ".weight", Shape{d, d});
    }
    add(p + "feed_forward.w1.weight", Shape{f, d});
    add(p + "feed_forward.w3.weight", Shape{f, d});
    add(p + "feed_forward.w2.weight", Shape{d, f});
    add_biased(p + "adaln_modulation", 4 * d, a);
    for (const char* name : {"attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"}) {
      add(p + name + ".weight", Shape{d});
    }
    add(p + "attention.norm_q.weight", Shape{c.head_dim});
    add(p + "attention.norm_k.weight", Shape{c.head_dim});
  }
  return shapes;
}

}  // namespace intaglio::ideogram4
