// The text encoder of BLIP (Li, Li, Xiong, Hoi, "BLIP: Bootstrapping Language-Image Pre-training",
// 2022): BERT whose layers also look at the states of a picture. Each of three steps of a layer is
// followed by a norm: h = norm(h + step(h)), the steps being attention among the tokens, attention
// from tokens to the picture, and fc2(curve(fc1(h))).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/towers/tower_math.h"

namespace intaglio::towers {

class BertEncoder {
 public:
  // Tensors "<prefix>embeddings.*" and "<prefix>encoder.layer.N.*"; sizes of `config`, but for the
  // width of the picture's states.
  static Expected<BertEncoder> read(const TowerWeights& source, const std::string& prefix,
                                    const JsonConfig& config, int64_t picture_width);

  int64_t width() const { return width_; }
  int64_t vocab_size() const { return vocab_; }
  // `picture`: [its tokens, picture_width] -> [ids, width]. Padding is left out of `ids`: no token
  // sees it. kInvalidArgument for no ids, too many or one beyond the vocabulary.
  Expected<Matrix> run(TowerMath& math, std::span<const int32_t> ids, const Matrix& picture) const;

 private:
  struct Layer {
    DenseWeights qkv, out;  // among the tokens
    DenseWeights cross_q, cross_k, cross_v, cross_out;
    DenseWeights fc1, fc2;
    NormWeights norm, cross_norm, last_norm;
  };

  Expected<Layer> read_layer(const TowerWeights& source, const std::string& prefix,
                             int64_t picture_width) const;
  Expected<Matrix> embedded(TowerMath& math, std::span<const int32_t> ids) const;
  Status run_layer(TowerMath& math, const Layer& layer, const Matrix& picture, Matrix& h) const;

  int64_t width_ = 0, hidden_ = 0, heads_ = 1, vocab_ = 0, max_tokens_ = 0;
  double eps_ = 1e-12;
  Curve curve_ = Curve::kGelu;
  std::vector<float> words_, positions_;  // [vocab, width], [max_tokens, width]
  NormWeights first_norm_;
  std::vector<Layer> layers_;
};

}  // namespace intaglio::towers
