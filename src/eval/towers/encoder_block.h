// The block that CLIP's two towers and BLIP's vision transformer are made of (Dosovitskiy et al.,
// "An Image is Worth 16x16 Words", 2020):
//   h += out(attention(qkv(norm1(h))));  h += fc2(curve(fc1(norm2(h))))
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/towers/tower_math.h"

namespace intaglio::towers {

struct EncoderBlock {
  NormWeights norm1, norm2;
  DenseWeights qkv, out, fc1, fc2;
};

struct EncoderStyle {
  int64_t heads = 1;
  Curve curve = Curve::kGelu;
  bool causal = false;  // a token sees itself and those before it
};

// What tensors of a block are called below its own prefix.
struct EncoderNames {
  std::string norm1, norm2, fc1, fc2, out;
  std::vector<std::string> qkv;  // three, or one that holds them all
};
const EncoderNames& clip_names();
const EncoderNames& timm_names();

struct EncoderShape {
  int64_t width = 0, hidden = 0;  // columns of h, and between fc1 and fc2
  double eps = 1e-5;
};

// The block whose tensors start with `prefix` ("encoder.layers.3.").
Expected<EncoderBlock> read_block(const TowerWeights& source, const std::string& prefix,
                                  const EncoderNames& names, const EncoderShape& shape);

// h: [tokens, width]. kCancelled.
Status run_block(TowerMath& math, const EncoderBlock& block, const EncoderStyle& style, Matrix& h);

}  // namespace intaglio::towers
