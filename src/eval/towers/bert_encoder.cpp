#include "eval/towers/bert_encoder.h"

#include <fmt/format.h>

#include "eval/towers/token_embedding.h"

namespace intaglio::towers {
namespace {

// What bert-base has where a config does not say.
constexpr int64_t kWidth = 768, kHidden = 3072, kHeads = 12, kLayers = 12, kMaxTokens = 512;

// h = norm(h + step).
Status end_step(TowerMath& math, const NormWeights& norm, const Matrix& step, Matrix& h) {
  TowerMath::add(step, h);
  INTAGLIO_ASSIGN(h, math.layer_norm(norm, h));
  return {};
}

}  // namespace

Expected<BertEncoder> BertEncoder::read(const TowerWeights& source, const std::string& prefix,
                                        const JsonConfig& config, int64_t picture_width) {
  BertEncoder bert;
  INTAGLIO_ASSIGN(bert.width_, size_of(config, "hidden_size", kWidth));
  INTAGLIO_ASSIGN(bert.hidden_, size_of(config, "intermediate_size", kHidden));
  INTAGLIO_ASSIGN(bert.heads_, size_of(config, "num_attention_heads", kHeads));
  INTAGLIO_ASSIGN(const int64_t layers, size_of(config, "num_hidden_layers", kLayers));
  INTAGLIO_ASSIGN(bert.vocab_, size_of(config, "vocab_size", 0));
  INTAGLIO_ASSIGN(bert.max_tokens_, size_of(config, "max_position_embeddings", kMaxTokens));
  INTAGLIO_ASSIGN(bert.eps_, config.number_or("layer_norm_eps", 1e-12));
  INTAGLIO_ASSIGN(const std::string curve, config.string_or("hidden_act", "gelu"));
  INTAGLIO_ASSIGN(bert.curve_, curve_from_name(curve, config.where()));
  if (bert.width_ % bert.heads_ != 0)
    return make_error(ErrorCode::kBadFormat,
                      "{}: hidden_size {} with {} heads, expected a multiple of them",
                      config.where(), bert.width_, bert.heads_);
  const std::string embeddings = prefix + "embeddings.";
  INTAGLIO_ASSIGN(bert.words_,
                  source.read(embeddings + "word_embeddings.weight", {bert.vocab_, bert.width_}));
  INTAGLIO_ASSIGN(bert.positions_, source.read(embeddings + "position_embeddings.weight",
                                               {bert.max_tokens_, bert.width_}));
  INTAGLIO_ASSIGN(bert.first_norm_,
                  read_norm(source, embeddings + "LayerNorm", bert.width_, bert.eps_));
  const std::string all = prefix + "encoder.layer.";
  INTAGLIO_TRY(source.refuse_more(all, layers, "num_hidden_layers"));
  for (int64_t i = 0; i < layers; ++i) {
    INTAGLIO_ASSIGN(Layer layer,
                    bert.read_layer(source, fmt::format("{}{}.", all, i), picture_width));
    bert.layers_.push_back(std::move(layer));
  }
  return bert;
}

Expected<BertEncoder::Layer> BertEncoder::read_layer(const TowerWeights& source,
                                                     const std::string& prefix,
                                                     int64_t picture_width) const {
  const auto dense = [&](const std::string& name, int64_t outputs, int64_t inputs) {
    const std::string full = prefix + name;
    return read_dense(source, {&full, 1}, outputs, inputs);
  };
  const auto norm = [&](const std::string& name) {
    return read_norm(source, prefix + name + ".LayerNorm", width_, eps_);
  };
  Layer layer;
  const std::string self = "attention.", cross = "crossattention.";
  const std::vector<std::string> qkv{prefix + self + "self.query", prefix + self + "self.key",
                                     prefix + self + "self.value"};
  INTAGLIO_ASSIGN(layer.qkv, read_dense(source, qkv, width_, width_));
  INTAGLIO_ASSIGN(layer.out, dense(self + "output.dense", width_, width_));
  INTAGLIO_ASSIGN(layer.norm, norm(self + "output"));
  INTAGLIO_ASSIGN(layer.cross_q, dense(cross + "self.query", width_, width_));
  INTAGLIO_ASSIGN(layer.cross_k, dense(cross + "self.key", width_, picture_width));
  INTAGLIO_ASSIGN(layer.cross_v, dense(cross + "self.value", width_, picture_width));
  INTAGLIO_ASSIGN(layer.cross_out, dense(cross + "output.dense", width_, width_));
  INTAGLIO_ASSIGN(layer.cross_norm, norm(cross + "output"));
  INTAGLIO_ASSIGN(layer.fc1, dense("intermediate.dense", hidden_, width_));
  INTAGLIO_ASSIGN(layer.fc2, dense("output.dense", width_, hidden_));
  INTAGLIO_ASSIGN(layer.last_norm, norm("output"));
  return layer;
}

Expected<Matrix> BertEncoder::embedded(TowerMath& math, std::span<const int32_t> ids) const {
  INTAGLIO_ASSIGN(const Matrix h, embed_tokens({.tokens = words_,
                                                .positions = positions_,
                                                .vocab = vocab_,
                                                .max_tokens = max_tokens_,
                                                .width = width_},
                                               ids));
  return math.layer_norm(first_norm_, h);
}

Status BertEncoder::run_layer(TowerMath& math, const Layer& layer, const Matrix& picture,
                              Matrix& h) const {
  INTAGLIO_TRY(math.check());
  INTAGLIO_ASSIGN(const Matrix qkv, math.dense(layer.qkv, h));
  INTAGLIO_ASSIGN(const Matrix seen, math.self_attention(qkv, heads_, false));
  INTAGLIO_ASSIGN(const Matrix mixed, math.dense(layer.out, seen));
  INTAGLIO_TRY(end_step(math, layer.norm, mixed, h));
  INTAGLIO_ASSIGN(const Matrix q, math.dense(layer.cross_q, h));
  INTAGLIO_ASSIGN(const Matrix k, math.dense(layer.cross_k, picture));
  INTAGLIO_ASSIGN(const Matrix v, math.dense(layer.cross_v, picture));
  INTAGLIO_ASSIGN(const Matrix looked, math.cross_attention({q, k, v, heads_}));
  INTAGLIO_ASSIGN(const Matrix crossed, math.dense(layer.cross_out, looked));
  INTAGLIO_TRY(end_step(math, layer.cross_norm, crossed, h));
  INTAGLIO_ASSIGN(Matrix hidden, math.dense(layer.fc1, h));
  math.apply(curve_, hidden);
  INTAGLIO_ASSIGN(const Matrix back, math.dense(layer.fc2, hidden));
  return end_step(math, layer.last_norm, back, h);
}

Expected<Matrix> BertEncoder::run(TowerMath& math, std::span<const int32_t> ids,
                                  const Matrix& picture) const {
  INTAGLIO_ASSIGN(Matrix h, embedded(math, ids));
  for (const Layer& layer : layers_) INTAGLIO_TRY(run_layer(math, layer, picture, h));
  return h;
}

}  // namespace intaglio::towers
