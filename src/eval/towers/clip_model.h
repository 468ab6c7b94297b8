// CLIP's two towers (Radford et al., "Learning Transferable Visual Models From Natural Language
// Supervision", 2021) from a folder as transformers' CLIPModel writes it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/towers/vision_tower.h"
#include "io/png.h"
#include "text/clip_tokenizer.h"

namespace intaglio::towers {

// The tower that reads. A text's tokens up to the first end token decide alone: it is causal.
class ClipText {
 public:
  // `config`: text_config. `projection`: columns of the embedding.
  static Expected<ClipText> read(const TowerWeights& source, const JsonConfig& config,
                                 int64_t projection);

  int64_t vocab_size() const { return vocab_; }
  int64_t max_tokens() const { return max_tokens_; }
  // The state of the last token, normed and projected: [projection]. kInvalidArgument for no
  // tokens, too many or one beyond the vocabulary.
  Expected<std::vector<float>> embedding(TowerMath& math, std::span<const int32_t> ids) const;

 private:
  int64_t vocab_ = 0, max_tokens_ = 0, width_ = 0;
  EncoderStyle style_;
  std::vector<float> tokens_, positions_;  // [vocab, width], [max_tokens, width]
  std::vector<EncoderBlock> blocks_;
  NormWeights last_norm_;
  DenseWeights projection_;
};

class ClipModel {
 public:
  // config.json, the weights, the tokenizer's files (text/clip_tokenizer.h) and, where it is there,
  // preprocessor_config.json. `host`: a context of the CPU. Errors name the file, the key or
  // tensor, what was found and what was expected.
  static Expected<ClipModel> open(const Context& host, const std::filesystem::path& folder);

  // Of the weights: 16 hexadecimal digits.
  Expected<std::string> hash(const std::atomic<bool>* cancel) const { return source_.hash(cancel); }
  const PictureRule& rule() const { return rule_; }
  const ClipTokenizer& tokenizer() const { return tokenizer_; }
  // e to the weights' logit_scale: what a cosine is multiplied with.
  double scale() const { return scale_; }

  // Projected, [projection], not of length 1.
  Expected<std::vector<float>> text_embedding(std::string_view text);
  Expected<std::vector<float>> text_embedding(std::span<const int32_t> ids) {
    return text_.embedding(math_, ids);
  }
  Expected<std::vector<float>> image_embedding(const RgbImage& picture) {
    return image_embedding(tower_input(picture, rule_));
  }
  Expected<std::vector<float>> image_embedding(const Pixels& pixels);

 private:
  ClipModel(const Context& host, TowerWeights source, ClipTokenizer tokenizer)
      : math_(host), source_(std::move(source)), tokenizer_(std::move(tokenizer)) {}
  Status read_vision(const JsonConfig& config, int64_t projection);

  TowerMath math_;
  TowerWeights source_;
  ClipTokenizer tokenizer_;
  PictureRule rule_;
  VisionTower vision_;
  NormWeights vision_norm_;
  DenseWeights vision_projection_;
  ClipText text_;
  double scale_ = 1.0;
};

}  // namespace intaglio::towers
