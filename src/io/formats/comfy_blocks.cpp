// Forms with a scale of each block of a row, the scales swizzled as tensor cores of 2024 read them:
// mxfp8 and nvfp4.
#include <array>
#include <cmath>

#include "io/formats/comfy_forms.h"
#include "io/formats/fp8.h"

namespace intaglio {
namespace {

constexpr std::string_view kMxfp8Parts[] = {"comfy_quant", "weight_scale", "input_scale"};
constexpr std::string_view kNvfp4Parts[] = {"comfy_quant", "weight_scale", "weight_scale_2",
                                            "input_scale", "pre_quant_scale"};
constexpr int64_t kMxfp8Block = 32, kNvfp4Block = 16;
constexpr int64_t kTileRows = 128, kTileBlocks = 4;  // of a tile of scales
constexpr int64_t kTileBytes = kTileRows * kTileBlocks;

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

constexpr float kE2m1[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

// One byte a block of `k` / blocks columns of W [n, k].
class BlockScales {
 public:
  BlockScales(const TensorEntry& entry, int64_t blocks, const ByteValues& values)
      : entry_(&entry), blocks_(blocks), values_(&values) {}

  static Shape shape(int64_t n, int64_t blocks) {
    return {round_up(n, kTileRows), round_up(blocks, kTileBlocks)};
  }
  int64_t blocks() const { return blocks_; }

  // Of rows [begin, end), row by row.
  Status read(int64_t begin, int64_t end, std::vector<float>& out) const {
    const int64_t tile_row_bytes = round_up(blocks_, kTileBlocks) / kTileBlocks * kTileBytes;
    const int64_t first = begin / kTileRows, last = (end - 1) / kTileRows;
    std::vector<std::byte> tiles;
    INTAGLIO_TRY(read_some_bytes(*entry_, first * tile_row_bytes,
                                 (last - first + 1) * tile_row_bytes, tiles));
    out.clear();
    for (int64_t r = begin; r < end; ++r) {
      const int64_t in_tile = r % 32 * 16 + r % kTileRows / 32 * kTileBlocks;
      const int64_t row = (r / kTileRows - first) * tile_row_bytes + in_tile;
      for (int64_t b = 0; b < blocks_; ++b) {
        const int64_t at = row + b / kTileBlocks * kTileBytes + b % kTileBlocks;
        out.push_back((*values_)[static_cast<size_t>(tiles[static_cast<size_t>(at)])]);
      }
    }
    return {};
  }

 private:
  const TensorEntry* entry_;
  int64_t blocks_;
  const ByteValues* values_;
};

// Multiplies each block of `count` rows by its scale.
void scale_blocks(const std::vector<float>& scales, int64_t block, float* out) {
  for (const float scale : scales)
    for (const float* const end = out + block; out != end; ++out) *out *= scale;
}

class Mxfp8Rows : public LinearDecoder {
 public:
  Mxfp8Rows(const TensorEntry& weight, const BlockScales& scales)
      : weight_(weight), scales_(scales) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t k = weight_.view.shape[1];
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(weight_, begin * k, (end - begin) * k, bytes));
    convert_bytes(bytes, e4m3_values(), out);
    std::vector<float> scales;
    INTAGLIO_TRY(scales_.read(begin, end, scales));
    scale_blocks(scales, kMxfp8Block, out);
    return {};
  }

 private:
  const TensorEntry& weight_;
  BlockScales scales_;
};

class Nvfp4Rows : public LinearDecoder {
 public:
  Nvfp4Rows(const TensorEntry& weight, const BlockScales& scales, float scale,
            std::vector<float> columns)
      : weight_(weight), scales_(scales), scale_(scale), columns_(std::move(columns)) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t half = weight_.view.shape[1], count = end - begin;
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(weight_, begin * half, count * half, bytes));
    for (size_t i = 0; i < bytes.size(); ++i) {
      out[2 * i] = e2m1(static_cast<int>(bytes[i]) >> 4);
      out[2 * i + 1] = e2m1(static_cast<int>(bytes[i]) & 15);
    }
    std::vector<float> scales;
    INTAGLIO_TRY(scales_.read(begin, end, scales));
    for (float& scale : scales) scale *= scale_;
    scale_blocks(scales, kNvfp4Block, out);
    for (int64_t r = 0; r < (columns_.empty() ? 0 : count); ++r)
      for (size_t c = 0; c < columns_.size(); ++c)
        out[r * 2 * half + static_cast<int64_t>(c)] *= columns_[c];
    return {};
  }

 private:
  static float e2m1(int code) { return (code & 8) != 0 ? -kE2m1[code & 7] : kE2m1[code]; }

  const TensorEntry& weight_;
  BlockScales scales_;
  float scale_;
  std::vector<float> columns_;
};

Expected<const TensorEntry*> checked_weight(const Layer& layer,
                                            std::span<const std::string_view> parts,
                                            std::string_view what) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(parts, what));
  return weight;
}

// kBadFormat unless both sizes are padded to multiples of the block.
Status check_padding(const Layer& layer, const TensorEntry& weight, int64_t k, int64_t block) {
  if (weight.view.shape[0] % block == 0 && k % block == 0) return {};
  return make_error(ErrorCode::kBadFormat,
                    "{}: found {}, expected multiples of {} rows and columns",
                    layer.where("weight"), type_and_shape(weight), block);
}

}  // namespace

Expected<LinearEntry> comfy_mxfp8_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight,
                  checked_weight(layer, kMxfp8Parts, "an mxfp8 weight"));
  const int64_t n = weight->view.shape[0], k = weight->view.shape[1];
  INTAGLIO_TRY(check_padding(layer, *weight, k, kMxfp8Block));
  const Shape shape = BlockScales::shape(n, k / kMxfp8Block);
  INTAGLIO_ASSIGN(const TensorEntry* const scales, layer.get("weight_scale"));
  // No tensor is computed in e8m0: the type has no DType, and stands for its bytes.
  const std::string e8m0 = fmt::format("F8_E8M0 {}", to_string(shape));
  const bool is_u8 = has_type(*scales, DType::kU8) && scales->view.shape == shape;
  if (!is_u8 && scales->foreign != e8m0) {
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected {}",
                      layer.where("weight_scale"), type_and_shape(*scales), e8m0);
  }
  const BlockScales blocks(*scales, k / kMxfp8Block, e8m0_values());
  return LinearEntry{.name = layer.name(),
                     .n = n,
                     .k = k,
                     .values = weight,
                     .float_product = descriptor.float_product,
                     .decoder = std::make_shared<Mxfp8Rows>(*weight, blocks),
                     .padding = kMxfp8Block};
}

Expected<LinearEntry> comfy_nvfp4_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight,
                  checked_weight(layer, kNvfp4Parts, "an nvfp4 weight"));
  const int64_t n = weight->view.shape[0], k = 2 * weight->view.shape[1];
  INTAGLIO_TRY(check_padding(layer, *weight, k, kNvfp4Block));
  INTAGLIO_ASSIGN(
      const TensorEntry* const scales,
      layer.get("weight_scale", {DType::kF8E4M3}, {BlockScales::shape(n, k / kNvfp4Block)}));
  INTAGLIO_ASSIGN(const TensorEntry* const second,
                  layer.get("weight_scale_2", {DType::kF32}, {Shape{}, Shape{1}}));
  INTAGLIO_ASSIGN(const std::vector<float> scale, read_floats(*second));
  std::vector<float> columns;
  if (const TensorEntry* const entry = layer.find("pre_quant_scale")) {
    // As many as the model has inputs: k without its padding.
    const Shape& shape = entry->view.shape;
    if (!is_weight_float(*entry) || shape.rank != 1 || shape[0] > k ||
        round_up(shape[0], kNvfp4Block) != k) {
      return make_error(ErrorCode::kBadFormat, "{}: found {}, expected floats [{}]",
                        layer.where("pre_quant_scale"), type_and_shape(*entry), k);
    }
    INTAGLIO_ASSIGN(columns, read_floats(*entry));
  }
  const BlockScales blocks(*scales, k / kNvfp4Block, e4m3_values());
  return LinearEntry{
      .name = layer.name(),
      .n = n,
      .k = k,
      .values = weight,
      .float_product = descriptor.float_product,
      .decoder = std::make_shared<Nvfp4Rows>(*weight, blocks, scale.front(), std::move(columns)),
      .padding = kNvfp4Block};
}

}  // namespace intaglio
