// ImageReward (Xu et al., "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image
// Generation", NeurIPS 2023): BLIP's picture and text towers and five products, one number.
#pragma once

#include <atomic>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/towers/bert_encoder.h"
#include "eval/towers/vision_tower.h"
#include "io/png.h"
#include "text/word_piece.h"

namespace intaglio::towers {

class ImageReward {
 public:
  // ImageReward.safetensors or model.safetensors, the published ImageReward.pt converted with its
  // names as they are; med_config.json; vocab.txt of bert-base-uncased. `host`: a context of the
  // CPU. The vision tower's heads are 64 columns wide, as published.
  static Expected<ImageReward> open(const Context& host, const std::filesystem::path& folder);

  // Of the weights: 16 hexadecimal digits.
  Expected<std::string> hash(const std::atomic<bool>* cancel) const { return source_.hash(cancel); }
  const PictureRule& rule() const { return rule_; }
  const WordPiece& tokenizer() const { return tokenizer_; }
  // Tokens of a text, the first and the last one among them.
  static constexpr size_t kMaxTokens = 35;

  // [tokens, width] of the picture, normed.
  Expected<Matrix> picture_states(const Pixels& pixels);
  // (mlp(first token's state) - 0.16717...) / 1.03334..., the means of the published training set.
  Expected<double> reward(std::span<const int32_t> ids, const Matrix& picture_states);
  Expected<double> reward(std::string_view text, const RgbImage& picture);

 private:
  ImageReward(const Context& host, TowerWeights source, WordPiece tokenizer)
      : math_(host), source_(std::move(source)), tokenizer_(std::move(tokenizer)) {}
  Status read_vision();
  Status read_head(int64_t width);

  TowerMath math_;
  TowerWeights source_;
  WordPiece tokenizer_;
  PictureRule rule_;
  VisionTower vision_;
  NormWeights vision_norm_;
  BertEncoder text_;
  std::vector<DenseWeights> head_;
};

}  // namespace intaglio::towers
