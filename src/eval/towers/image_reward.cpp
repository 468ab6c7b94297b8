#include "eval/towers/image_reward.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace intaglio::towers {
namespace {

namespace fs = std::filesystem;

constexpr double kMean = 0.16717362830052426, kDeviation = 1.0333394966054072;
constexpr int64_t kHeadColumns = 64;
constexpr double kVisionEps = 1e-6;
constexpr std::array<std::string_view, 2> kAddedTokens{"[DEC]", "[ENC]"};
// Places of the products in the published list; between them is what trains alone.
constexpr std::array<int, 5> kHeadLayers{0, 2, 4, 6, 7};

// Layers of tensors "<prefix>N.".
int64_t count_layers(const TowerWeights& source, const std::string& prefix,
                     const std::string& leaf) {
  int64_t count = 0;
  while (source.has(fmt::format("{}{}.{}", prefix, count, leaf))) ++count;
  return count;
}

fs::path weights_file(const fs::path& folder) {
  const fs::path own = folder / "ImageReward.safetensors";
  return fs::exists(own) ? own : folder;
}

}  // namespace

Expected<ImageReward> ImageReward::open(const Context& host, const fs::path& folder) {
  const fs::path file = weights_file(folder);
  INTAGLIO_ASSIGN(TowerWeights source, TowerWeights::open({&file, 1}));
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(folder / "med_config.json"));
  INTAGLIO_ASSIGN(WordPiece tokenizer, WordPiece::open(folder / "vocab.txt", kAddedTokens));
  ImageReward model(host, std::move(source), std::move(tokenizer));
  INTAGLIO_TRY(model.read_vision());
  INTAGLIO_ASSIGN(model.text_, BertEncoder::read(model.source_, "blip.text_encoder.", config,
                                                 model.vision_.shape().block.width));
  if (model.tokenizer_.vocab_size() != model.text_.vocab_size())
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: {} tokens with [DEC] and [ENC], expected the {} of med_config.json",
                      (folder / "vocab.txt").string(), model.tokenizer_.vocab_size(),
                      model.text_.vocab_size());
  INTAGLIO_TRY(model.read_head(model.text_.width()));
  return model;
}

// All sizes are those of the tensors.
Status ImageReward::read_vision() {
  const std::string prefix = "blip.visual_encoder.", blocks = prefix + "blocks.";
  const std::string patches = prefix + "patch_embed.proj";
  INTAGLIO_ASSIGN(const Shape patch, source_.shape(patches + ".weight", 4));
  INTAGLIO_ASSIGN(const Shape positions, source_.shape(prefix + "pos_embed", 3));
  INTAGLIO_ASSIGN(const Shape hidden, source_.shape(blocks + "0.mlp.fc1.weight", 2));
  const int64_t width = patch[0];
  const auto side = static_cast<int64_t>(std::lround(std::sqrt(positions[1] - 1)));
  if (width % kHeadColumns != 0 || side * side + 1 != positions[1])
    return make_error(ErrorCode::kUnsupported,
                      "blip.visual_encoder: {} columns and {} positions, expected a multiple of {} "
                      "and a square and one",
                      width, positions[1], kHeadColumns);
  const VisionShape shape{
      .image = side * patch[2],
      .patch = patch[2],
      .layers = count_layers(source_, blocks, "norm1.weight"),
      .block = {.width = width, .hidden = hidden[0], .eps = kVisionEps},
      .style = {.heads = width / kHeadColumns, .curve = Curve::kGelu, .causal = false}};
  const VisionNames names{.patches = patches,
                          .class_token = prefix + "cls_token",
                          .positions = prefix + "pos_embed",
                          .norm_before = std::nullopt,
                          .blocks = blocks,
                          .block = timm_names()};
  INTAGLIO_ASSIGN(vision_, VisionTower::read(source_, names, shape));
  INTAGLIO_ASSIGN(vision_norm_, read_norm(source_, prefix + "norm", width, kVisionEps));
  rule_.shortest = rule_.crop = shape.image;
  rule_.rule = CropRule::kHalfEven;
  return {};
}

Status ImageReward::read_head(int64_t width) {
  for (const int place : kHeadLayers) {
    const std::string name = fmt::format("mlp.layers.{}", place);
    INTAGLIO_ASSIGN(const Shape shape, source_.shape(name + ".weight", 2));
    INTAGLIO_ASSIGN(DenseWeights layer, read_dense(source_, {&name, 1}, shape[0], width));
    width = layer.outputs;
    head_.push_back(std::move(layer));
  }
  if (width != 1)
    return make_error(ErrorCode::kShapeMismatch, "mlp.layers.{}: {} outputs, expected 1",
                      kHeadLayers.back(), width);
  return {};
}

Expected<Matrix> ImageReward::picture_states(const Pixels& pixels) {
  INTAGLIO_ASSIGN(const Matrix h, vision_.run(math_, pixels));
  return math_.layer_norm(vision_norm_, h);
}

Expected<double> ImageReward::reward(std::span<const int32_t> ids, const Matrix& picture_states) {
  INTAGLIO_ASSIGN(const Matrix h, text_.run(math_, ids, picture_states));
  Matrix x{1, h.cols, {h.row(0), h.row(0) + h.cols}};
  for (const DenseWeights& layer : head_) {
    INTAGLIO_ASSIGN(x, math_.dense(layer, x));
  }
  return (x.values.front() - kMean) / kDeviation;
}

Expected<double> ImageReward::reward(std::string_view text, const RgbImage& picture) {
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, tokenizer_.encode(text, kMaxTokens));
  INTAGLIO_ASSIGN(const Matrix states, picture_states(tower_input(picture, rule_)));
  return reward(ids, states);
}

}  // namespace intaglio::towers
