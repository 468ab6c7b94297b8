// Weights of the Ideogram 4 transformer: names, shapes, preparation.
#include <fmt/format.h>

#include <algorithm>

#include "models/ideogram4/transformer.h"
#include "models/parts/modules.h"

namespace intaglio::ideogram4 {

Status Transformer::walk(ModuleVisitor& v) {
  const TransformerConfig& c = config_;
  const int64_t d = c.width();
  const int64_t a = c.adaln_dim;
  // The indicator rows are constants added to every text and image token: part of the projections' bias.
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
  if (options_.with_text) {
    INTAGLIO_TRY(single("llm_cond_proj", d, c.text_dim, text_proj_, of_text));
    INTAGLIO_TRY(v.vector("llm_cond_norm.weight", Shape{c.text_dim}, text_norm_));
  }
  layers_.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    v.begin_layer(i, fmt::format("layers.{}.", i));
    INTAGLIO_TRY(walk_layer(v, layers_[static_cast<size_t>(i)]));
  }
  return {};
}

Status Transformer::walk_layer(ModuleVisitor& v, Layer& layer) const {
  const int64_t d = config_.width();
  const int64_t f = config_.intermediate;
  INTAGLIO_TRY(v.linear({.names = {"attention.to_q", "attention.to_k", "attention.to_v"},
                         .rows = {d, d, d},
                         .k = d,
                         .residence = Residence::kLayer},
                        layer.qkv));
  INTAGLIO_TRY(v.linear(
      {.names = {"attention.to_out.0"}, .rows = {d}, .k = d, .residence = Residence::kLayer},
      layer.out));
  INTAGLIO_TRY(v.linear({.names = {"feed_forward.w1", "feed_forward.w3"},
                         .rows = {f, f},
                         .k = d,
                         .epilogue = GemmEpilogue::kSwiglu,
                         .residence = Residence::kLayer},
                        layer.w13));
  INTAGLIO_TRY(v.linear({.names = {"feed_forward.w2"},
                         .rows = {d},
                         .k = f,
                         .residence = Residence::kLayer,
                         .padded_k = layer.w13.out_cols()},
                        layer.w2));
  INTAGLIO_TRY(v.linear({.names = {"adaln_modulation"},
                         .rows = {4 * d},
                         .k = config_.adaln_dim,
                         .bias = true,
                         .residence = Residence::kOnce},
                        layer.modulation));
  INTAGLIO_TRY(v.vector("attention_norm1.weight", Shape{d}, layer.attention_norm1));
  INTAGLIO_TRY(v.vector("attention_norm2.weight", Shape{d}, layer.attention_norm2));
  INTAGLIO_TRY(v.vector("ffn_norm1.weight", Shape{d}, layer.ffn_norm1));
  INTAGLIO_TRY(v.vector("ffn_norm2.weight", Shape{d}, layer.ffn_norm2));
  INTAGLIO_TRY(v.vector("attention.norm_q.weight", Shape{config_.head_dim}, layer.norm_q));
  return v.vector("attention.norm_k.weight", Shape{config_.head_dim}, layer.norm_k);
}

TensorShapes transformer_tensor_shapes(const TransformerConfig& config, bool with_text) {
  DeclareModules declare;
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(
      Transformer::sized(config, {.selection = {}, .with_text = with_text}).walk(declare));
  return declare.shapes();
}

ModelWeights transformer_weights(const TransformerConfig& config, const LayerSelection& selection,
                                 bool with_text) {
  CountModules count(selection);
  static_cast<void>(
      Transformer::sized(config, {.selection = selection, .with_text = with_text}).walk(count));
  return count.weights();
}

Transformer Transformer::sized(const TransformerConfig& config, const LoadOptions& options) {
  Transformer model;
  model.config_ = config;
  model.options_ = options;
  return model;
}

Status check_transformer_weights(std::shared_ptr<const Checkpoint> checkpoint,
                                 const TransformerConfig& config, bool with_text) {
  INTAGLIO_TRY(refuse_layers_beyond(*checkpoint, "layers.", config.layers, "num_layers"));
  return CheckpointSource(std::move(checkpoint))
      .check(transformer_tensor_shapes(config, with_text));
}

Expected<Transformer> Transformer::load(const Context& context, const PartFiles& files,
                                        const LoadOptions& options) {
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(files.config));
  INTAGLIO_ASSIGN(const TransformerConfig config, parse_transformer_config(json));
  Transformer model = sized(config, options);
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
  Transformer model = sized(config, options);
  SyntheticSource source(seed, context.cancel);
  INTAGLIO_TRY(model.read_weights(context, source));
  return model;
}

Expected<Transformer> Transformer::describe(const Context& context, const TransformerConfig& config,
                                            const LoadOptions& options) {
  Transformer model = sized(config, options);
  DescribeModules describe(context, model.options_.selection);
  INTAGLIO_TRY(model.walk(describe));
  return model;
}

// Sets `streams` of every layer, and the slots, which the AdaLN weights need in any case.
Status Transformer::choose_streamed_layers(const Context& context) {
  layers_.resize(static_cast<size_t>(config_.layers));
  if (context.gpu == nullptr) return {};
  const ModelWeights weights = transformer_weights(config_, options_.selection, options_.with_text);
  const StreamingChoice choice = choose_streamed(weights.layer_bytes, options_.weight_budget);
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].streams = choice.streams[i];
  streamed_.reserve(choice.count);
  streamer_ = options_.streamer;
  if (streamer_ != nullptr) return {};
  const uint64_t slot_bytes = std::max(choice.slot_bytes, weights.largest_once());
  INTAGLIO_ASSIGN(streamer_, WeightStreamer::make(context, kStreamSlots, slot_bytes));
  return {};
}

// Moves weights that stream, prepared on the device, to host memory before the next are made: there is room for no more.
Status Transformer::stream_prepared(const Context& context, Residence residence, int64_t index,
                                    LinearWeights& weights) {
  if (streamer_ == nullptr || residence == Residence::kFixed) return {};
  if (residence == Residence::kLayer && !layers_[static_cast<size_t>(index)].streams) return {};
  std::vector<StreamedLayer>& list = residence == Residence::kOnce ? modulations_ : streamed_;
  if (list.empty() || list.back().layer != index)
    list.push_back({.parts = {}, .slot = list.size() % streamer_->slots(), .layer = index});
  return streamer_->take(context, weights, list.back());
}

Status Transformer::read_weights(const Context& context, TensorSource& source) {
  // Everything is checked before anything is prepared, so that the list of problems is complete and comes at once.
  INTAGLIO_TRY(source.check(transformer_tensor_shapes(config_, options_.with_text)));
  keep_alive_ = source.keep_alive();
  INTAGLIO_TRY(choose_streamed_layers(context));
  PrepareModules prepare(context, source, options_.selection,
                         [&](Residence residence, int64_t layer, LinearWeights& weights) {
                           return stream_prepared(context, residence, layer, weights);
                         });
  return walk(prepare);
}

}  // namespace intaglio::ideogram4
