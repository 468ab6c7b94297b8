#include "eval/towers/clip_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "eval/towers/picture_config.h"
#include "eval/towers/token_embedding.h"
#include "io/printable.h"

namespace intaglio::towers {
namespace {

namespace fs = std::filesystem;

// What transformers means where a config does not say.
struct Defaults {
  int64_t width, hidden, heads;
};
constexpr Defaults kTextDefaults{512, 2048, 8}, kVisionDefaults{768, 3072, 12};
constexpr int64_t kLayers = 12, kProjection = 512, kVocabulary = 49408, kMaxTokens = 77;
constexpr int64_t kImage = 224, kPatch = 32;

struct TowerConfig {
  int64_t layers = 0;
  EncoderShape block;
  EncoderStyle style;
};

Expected<TowerConfig> tower_config(const JsonConfig& config, const Defaults& defaults) {
  TowerConfig tower;
  INTAGLIO_ASSIGN(tower.layers, size_of(config, "num_hidden_layers", kLayers));
  INTAGLIO_ASSIGN(tower.block.width, size_of(config, "hidden_size", defaults.width));
  INTAGLIO_ASSIGN(tower.block.hidden, size_of(config, "intermediate_size", defaults.hidden));
  INTAGLIO_ASSIGN(tower.style.heads, size_of(config, "num_attention_heads", defaults.heads));
  INTAGLIO_ASSIGN(tower.block.eps, config.number_or("layer_norm_eps", 1e-5));
  INTAGLIO_ASSIGN(const std::string curve, config.string_or("hidden_act", "quick_gelu"));
  INTAGLIO_ASSIGN(tower.style.curve, curve_from_name(curve, config.where()));
  if (tower.block.width % tower.style.heads != 0)
    return make_error(ErrorCode::kBadFormat,
                      "{}: hidden_size {} with {} heads, expected a multiple of them",
                      config.where(), tower.block.width, tower.style.heads);
  return tower;
}

// The object `name` of a config. Older files have it a second time, under `name`_dict, which then
// decides.
Expected<JsonConfig> part_of(const JsonConfig& config, const std::string& name) {
  const std::string second = name + "_dict";
  nlohmann::json merged = nlohmann::json::object();
  for (const std::string& key : {name, second}) {
    if (!config.contains(key)) continue;
    INTAGLIO_ASSIGN(const JsonConfig part, config.object(key));
    for (const auto& [item, value] : part.json().items())
      if (!value.is_null()) merged[item] = value;
  }
  return JsonConfig::parse(merged.dump(), config.where() + ": " + name);
}

}  // namespace

Expected<ClipText> ClipText::read(const TowerWeights& source, const JsonConfig& config,
                                  int64_t projection) {
  const std::string prefix = "text_model.";
  ClipText text;
  INTAGLIO_ASSIGN(const TowerConfig tower, tower_config(config, kTextDefaults));
  INTAGLIO_ASSIGN(text.vocab_, size_of(config, "vocab_size", kVocabulary));
  INTAGLIO_ASSIGN(text.max_tokens_, size_of(config, "max_position_embeddings", kMaxTokens));
  text.width_ = tower.block.width;
  text.style_ = tower.style;
  text.style_.causal = true;
  INTAGLIO_ASSIGN(text.tokens_, source.read(prefix + "embeddings.token_embedding.weight",
                                            {text.vocab_, text.width_}));
  INTAGLIO_ASSIGN(text.positions_, source.read(prefix + "embeddings.position_embedding.weight",
                                               {text.max_tokens_, text.width_}));
  const std::string blocks = prefix + "encoder.layers.";
  INTAGLIO_TRY(source.refuse_more(blocks, tower.layers, "num_hidden_layers"));
  for (int64_t i = 0; i < tower.layers; ++i) {
    INTAGLIO_ASSIGN(EncoderBlock block,
                    read_block(source, fmt::format("{}{}.", blocks, i), clip_names(), tower.block));
    text.blocks_.push_back(std::move(block));
  }
  INTAGLIO_ASSIGN(text.last_norm_,
                  read_norm(source, prefix + "final_layer_norm", text.width_, tower.block.eps));
  const std::string name = "text_projection";
  INTAGLIO_ASSIGN(text.projection_,
                  read_dense(source, {&name, 1}, projection, text.width_, Bias::kNo));
  return text;
}

Expected<std::vector<float>> ClipText::embedding(TowerMath& math,
                                                 std::span<const int32_t> ids) const {
  INTAGLIO_ASSIGN(Matrix h, embed_tokens({.tokens = tokens_,
                                          .positions = positions_,
                                          .vocab = vocab_,
                                          .max_tokens = max_tokens_,
                                          .width = width_},
                                         ids));
  for (const EncoderBlock& block : blocks_) INTAGLIO_TRY(run_block(math, block, style_, h));
  const float* const last = h.row(h.rows - 1);
  INTAGLIO_ASSIGN(const Matrix normed,
                  math.layer_norm(last_norm_, {1, width_, {last, last + width_}}));
  INTAGLIO_ASSIGN(Matrix projected, math.dense(projection_, normed));
  return std::move(projected.values);
}

Expected<ClipModel> ClipModel::open(const Context& host, const fs::path& folder) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(folder / "config.json"));
  INTAGLIO_ASSIGN(const std::string type, config.string_or("model_type", "clip"));
  if (type != "clip")
    return make_error(ErrorCode::kUnsupported, "{}: model_type \"{}\", expected \"clip\"",
                      config.where(), printable(type, 60));
  INTAGLIO_ASSIGN(const int64_t projection, size_of(config, "projection_dim", kProjection));
  INTAGLIO_ASSIGN(ClipTokenizer tokenizer, ClipTokenizer::open(folder));
  INTAGLIO_ASSIGN(TowerWeights source, TowerWeights::open({&folder, 1}));
  ClipModel model(host, std::move(source), std::move(tokenizer));
  INTAGLIO_ASSIGN(const JsonConfig text, part_of(config, "text_config"));
  INTAGLIO_ASSIGN(model.text_, ClipText::read(model.source_, text, projection));
  if (model.tokenizer_.vocab_size() > model.text_.vocab_size())
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: the tokenizer has {} tokens, expected at most the {} of config.json",
                      folder.string(), model.tokenizer_.vocab_size(), model.text_.vocab_size());
  INTAGLIO_ASSIGN(const JsonConfig vision, part_of(config, "vision_config"));
  INTAGLIO_TRY(model.read_vision(vision, projection));
  model.rule_.shortest = model.rule_.crop = model.vision_.shape().image;
  INTAGLIO_TRY(read_picture_rule(folder / "preprocessor_config.json", model.rule_));
  INTAGLIO_ASSIGN(const std::vector<float> scale, model.source_.read("logit_scale", {1}));
  model.scale_ = std::exp(static_cast<double>(scale.front()));
  return model;
}

Status ClipModel::read_vision(const JsonConfig& config, int64_t projection) {
  INTAGLIO_ASSIGN(const TowerConfig tower, tower_config(config, kVisionDefaults));
  VisionShape shape{.layers = tower.layers, .block = tower.block, .style = tower.style};
  INTAGLIO_ASSIGN(shape.image, size_of(config, "image_size", kImage));
  INTAGLIO_ASSIGN(shape.patch, size_of(config, "patch_size", kPatch));
  if (shape.image % shape.patch != 0)
    return make_error(ErrorCode::kUnsupported,
                      "{}: image_size {} and patch_size {}, expected a multiple", config.where(),
                      shape.image, shape.patch);
  const std::string prefix = "vision_model.";
  const VisionNames names{.patches = prefix + "embeddings.patch_embedding",
                          .class_token = prefix + "embeddings.class_embedding",
                          .positions = prefix + "embeddings.position_embedding.weight",
                          .norm_before = prefix + "pre_layrnorm",  // as it is published
                          .blocks = prefix + "encoder.layers.",
                          .block = clip_names()};
  INTAGLIO_TRY(source_.refuse_more(names.blocks, shape.layers, "num_hidden_layers"));
  INTAGLIO_ASSIGN(vision_, VisionTower::read(source_, names, shape));
  INTAGLIO_ASSIGN(vision_norm_, read_norm(source_, prefix + "post_layernorm", shape.block.width,
                                          shape.block.eps));
  const std::string name = "visual_projection";
  INTAGLIO_ASSIGN(vision_projection_,
                  read_dense(source_, {&name, 1}, projection, shape.block.width, Bias::kNo));
  return {};
}

Expected<std::vector<float>> ClipModel::text_embedding(std::string_view text) {
  INTAGLIO_ASSIGN(std::vector<int32_t> ids,
                  tokenizer_.encode(text, static_cast<size_t>(text_.max_tokens())));
  // The state that counts is that of the first end token.
  const auto end = std::find(ids.begin(), ids.end(), tokenizer_.end_token());
  return text_embedding(std::span<const int32_t>(ids.begin(), end + 1));
}

Expected<std::vector<float>> ClipModel::image_embedding(const Pixels& pixels) {
  INTAGLIO_ASSIGN(const Matrix h, vision_.run(math_, pixels));
  INTAGLIO_ASSIGN(const Matrix pooled,
                  math_.layer_norm(vision_norm_, {1, h.cols, {h.row(0), h.row(0) + h.cols}}));
  INTAGLIO_ASSIGN(Matrix projected, math_.dense(vision_projection_, pooled));
  return std::move(projected.values);
}

}  // namespace intaglio::towers
