// A vision transformer: patches of a picture and a class token through encoder blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/towers/encoder_block.h"
#include "eval/towers/picture_input.h"

namespace intaglio::towers {

// What its tensors are called.
struct VisionNames {
  std::string patches;  // ".weight" [width, 3, patch, patch] and, maybe, ".bias"
  std::string class_token, positions;
  std::optional<std::string> norm_before;
  std::string blocks;  // "blocks." before the number of a block
  const EncoderNames& block;
};

struct VisionShape {
  int64_t image = 0, patch = 0;  // pixels; image is a multiple of patch
  int64_t layers = 0;
  EncoderShape block;
  EncoderStyle style;
  int64_t tokens() const { return (image / patch) * (image / patch) + 1; }
};

class VisionTower {
 public:
  static Expected<VisionTower> read(const TowerWeights& source, const VisionNames& names,
                                    const VisionShape& shape);

  const VisionShape& shape() const { return shape_; }
  // [tokens, width], the class token first, before any last norm. kShapeMismatch for pixels of
  // another size.
  Expected<Matrix> run(TowerMath& math, const Pixels& pixels) const;

 private:
  Matrix patch_rows(const Pixels& pixels) const;

  VisionShape shape_;
  DenseWeights patches_;
  std::vector<float> class_token_, positions_;  // [width], [tokens, width]
  std::optional<NormWeights> norm_before_;
  std::vector<EncoderBlock> blocks_;
};

}  // namespace intaglio::towers
