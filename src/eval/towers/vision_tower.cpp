#include "eval/towers/vision_tower.h"

#include <fmt/format.h>

#include <algorithm>

namespace intaglio::towers {

Expected<VisionTower> VisionTower::read(const TowerWeights& source, const VisionNames& names,
                                        const VisionShape& shape) {
  VisionTower tower;
  tower.shape_ = shape;
  const int64_t width = shape.block.width;
  const bool bias = source.has(names.patches + ".bias");
  const int64_t inputs = 3 * shape.patch * shape.patch;
  tower.patches_ = {.outputs = width, .inputs = inputs, .weight = {}, .bias = {}};
  INTAGLIO_ASSIGN(tower.patches_.weight,
                  source.read(names.patches + ".weight", {width, 3, shape.patch, shape.patch}));
  if (bias) {
    INTAGLIO_ASSIGN(tower.patches_.bias, source.read(names.patches + ".bias", {width}));
  }
  INTAGLIO_ASSIGN(tower.class_token_, source.read(names.class_token, {width}));
  INTAGLIO_ASSIGN(tower.positions_, source.read(names.positions, {shape.tokens(), width}));
  if (names.norm_before) {
    INTAGLIO_ASSIGN(tower.norm_before_,
                    read_norm(source, *names.norm_before, width, shape.block.eps));
  }
  for (int64_t i = 0; i < shape.layers; ++i) {
    INTAGLIO_ASSIGN(EncoderBlock block, read_block(source, fmt::format("{}{}.", names.blocks, i),
                                                   names.block, shape.block));
    tower.blocks_.push_back(std::move(block));
  }
  return tower;
}

// [patches, 3 * patch * patch], as the weights have them: channel, row, column.
Matrix VisionTower::patch_rows(const Pixels& pixels) const {
  const int64_t side = shape_.image / shape_.patch, patch = shape_.patch;
  Matrix rows = Matrix::zeros(side * side, patches_.inputs);
  for (int64_t i = 0; i < rows.rows; ++i) {
    float* out = rows.row(i);
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = 0; y < patch; ++y) {
        const int64_t line = c * shape_.image + i / side * patch + y;
        const float* const in = pixels.values.data() + line * shape_.image + i % side * patch;
        out = std::copy_n(in, patch, out);
      }
  }
  return rows;
}

Expected<Matrix> VisionTower::run(TowerMath& math, const Pixels& pixels) const {
  if (pixels.height != shape_.image || pixels.width != shape_.image)
    return make_error(ErrorCode::kShapeMismatch, "a picture of {}x{} pixels, expected {}x{}",
                      pixels.width, pixels.height, shape_.image, shape_.image);
  Matrix h = Matrix::zeros(shape_.tokens(), shape_.block.width);
  const Matrix rows = patch_rows(pixels);
  INTAGLIO_TRY(math.dense_into(patches_, rows.values.data(), rows.rows, h.row(1)));
  std::copy(class_token_.begin(), class_token_.end(), h.values.begin());
  for (size_t i = 0; i < h.values.size(); ++i) h.values[i] += positions_[i];
  if (norm_before_) {
    INTAGLIO_ASSIGN(h, math.layer_norm(*norm_before_, h));
  }
  for (const EncoderBlock& block : blocks_) INTAGLIO_TRY(run_block(math, block, shape_.style, h));
  return h;
}

}  // namespace intaglio::towers
