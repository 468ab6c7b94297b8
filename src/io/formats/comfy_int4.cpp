// Four-bit forms: two values in a byte, the low nibble first.
#include <algorithm>
#include <array>
#include <cmath>

#include "io/formats/comfy_forms.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kW4A4Parts[] = {"comfy_quant", "weight_scale", "input_scale"};
constexpr std::string_view kW4A8Parts[] = {"comfy_quant", "weight_s_rel", "weight_s_channel",
                                           "weight_codebook", "input_scale"};
constexpr std::string_view kAwqParts[] = {"comfy_quant", "weight_scale", "weight_zeros",
                                          "weight_zero"};
constexpr int64_t kW4A8Group = 16, kAwqGroup = 64;  // where the descriptor does not say

// Code `c` of packed rows.
inline int code_at(const std::byte* packed, int64_t c) {
  return (static_cast<int>(packed[c / 2]) >> (4 * (c % 2))) & 15;
}

// The packed weight and the shape of W.
struct Packed {
  const TensorEntry* weight = nullptr;
  int64_t n = 0, k = 0;

  Status read(int64_t begin, int64_t end, std::vector<std::byte>& out) const {
    return read_some_bytes(*weight, begin * (k / 2), (end - begin) * (k / 2), out);
  }
};

Expected<Packed> packed_weight(const Layer& layer, std::span<const std::string_view> parts) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(parts, "an int4 weight"));
  return Packed{weight, weight->view.shape[0], 2 * weight->view.shape[1]};
}

// Of the scales along k. kBadFormat unless it divides k.
Expected<int64_t> group_of(const Layer& layer, const ComfyDescriptor& descriptor, int64_t k,
                           int64_t fallback) {
  const int64_t group = descriptor.group_size > 0 ? descriptor.group_size : fallback;
  if (k % group == 0) return group;
  return make_error(ErrorCode::kBadFormat, "{}: group_size {} does not divide {} columns",
                    layer.where(), group, k);
}

class W4A4Rows : public Int8Decoder {
 public:
  explicit W4A4Rows(const Packed& packed) : packed_(packed) {}

  Status rows(int64_t begin, int64_t end, int8_t* out) const override {
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(packed_.read(begin, end, bytes));
    const int64_t count = (end - begin) * packed_.k;
    for (int64_t i = 0; i < count; ++i) {
      const int code = code_at(bytes.data(), i);
      out[i] = static_cast<int8_t>(code < 8 ? code : code - 16);
    }
    return {};
  }

 private:
  Packed packed_;
};

class W4A8Rows : public Int8Decoder {
 public:
  W4A8Rows(const Packed& packed, const TensorEntry* relative, int64_t group,
           const std::array<float, 16>& codebook, std::string where)
      : packed_(packed),
        relative_(relative),
        group_(group),
        codebook_(codebook),
        where_(std::move(where)) {}

  Status rows(int64_t begin, int64_t end, int8_t* out) const override {
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(packed_.read(begin, end, bytes));
    const int64_t groups = packed_.k / group_, count = (end - begin) * groups;
    std::vector<float> scales(static_cast<size_t>(count));
    INTAGLIO_TRY(read_some_floats(*relative_, begin * groups, count, scales.data()));
    for (int64_t i = 0; i < count; ++i) {
      const float scale = scales[static_cast<size_t>(i)];
      if (!std::isfinite(scale)) {
        return make_error(ErrorCode::kBadFormat, "{}: row {} holds an Inf or a NaN", where_,
                          begin + i / groups);
      }
      for (int64_t c = i * group_; c < (i + 1) * group_; ++c) {
        const float value =
            std::nearbyint(codebook_[static_cast<size_t>(code_at(bytes.data(), c))] * scale);
        out[c] = static_cast<int8_t>(std::clamp(value, -127.0f, 127.0f));
      }
    }
    return {};
  }

 private:
  Packed packed_;
  const TensorEntry* relative_;
  int64_t group_;
  std::array<float, 16> codebook_;
  std::string where_;
};

// The sixteen levels; code - 8 where there is no codebook.
Expected<std::array<float, 16>> read_codebook(const Layer& layer) {
  std::array<float, 16> levels{};
  INTAGLIO_ASSIGN(const TensorEntry* const entry,
                  layer.find("weight_codebook", {DType::kF32}, {Shape{16}}));
  if (entry == nullptr) {
    for (size_t code = 0; code < 16; ++code) levels[code] = static_cast<float>(code) - 8.0f;
    return levels;
  }
  INTAGLIO_TRY(read_some_floats(*entry, 0, 16, levels.data()));
  for (const float level : levels) {
    // Larger ones would overflow beside the largest scale; levels lie within +-128.
    if (std::fabs(level) <= 1e6f) continue;
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected sixteen levels of int8",
                      layer.where("weight_codebook"), level);
  }
  return levels;
}

class AwqRows : public LinearDecoder {
 public:
  AwqRows(const Packed& packed, const TensorEntry* scales, const TensorEntry* zeros, int64_t group)
      : packed_(packed), scales_(scales), zeros_(zeros), group_(group) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(packed_.read(begin, end, bytes));
    const int64_t count = end - begin, k = packed_.k;
    std::vector<float> scales(static_cast<size_t>(count)), zeros(static_cast<size_t>(count));
    for (int64_t g = 0; g < k / group_; ++g) {
      // Both are [k / group, n].
      INTAGLIO_TRY(read_some_floats(*scales_, g * packed_.n + begin, count, scales.data()));
      INTAGLIO_TRY(read_some_floats(*zeros_, g * packed_.n + begin, count, zeros.data()));
      for (int64_t r = 0; r < count; ++r) {
        const float scale = scales[static_cast<size_t>(r)], zero = zeros[static_cast<size_t>(r)];
        for (int64_t c = r * k + g * group_; c < r * k + (g + 1) * group_; ++c)
          out[c] = static_cast<float>(code_at(bytes.data(), c) - 8) * scale + zero;
      }
    }
    return {};
  }

 private:
  Packed packed_;
  const TensorEntry* scales_;
  const TensorEntry* zeros_;
  int64_t group_;
};

}  // namespace

// Its own product rounds activations to four bits; int8 ones lose less.
Expected<LinearEntry> comfy_w4a4_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const Packed packed, packed_weight(layer, kW4A4Parts));
  const int64_t n = packed.n;
  INTAGLIO_ASSIGN(const TensorEntry* const scales,
                  layer.get("weight_scale", {DType::kF32}, {Shape{n}, Shape{n, 1}}));
  INTAGLIO_TRY(check_comfy_rotation(layer, Shape{n, packed.k}, descriptor.rotation));
  return LinearEntry{.name = layer.name(),
                     .encoding = Encoding::kInt8Rows,
                     .n = n,
                     .k = packed.k,
                     .values = packed.weight,
                     .scales = scales,
                     .rotation = descriptor.rotation,
                     .float_product = descriptor.float_product,
                     .int8_decoder = std::make_shared<W4A4Rows>(packed)};
}

Expected<LinearEntry> comfy_w4a8_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const Packed packed, packed_weight(layer, kW4A8Parts));
  const int64_t n = packed.n, k = packed.k;
  INTAGLIO_ASSIGN(const int64_t group, group_of(layer, descriptor, k, kW4A8Group));
  INTAGLIO_ASSIGN(const TensorEntry* const relative,
                  layer.get("weight_s_rel", {DType::kF8E4M3, DType::kF32, DType::kBF16},
                            {Shape{n, k / group}}));
  INTAGLIO_ASSIGN(const TensorEntry* const scales,
                  layer.get("weight_s_channel", {DType::kF32}, {Shape{n}, Shape{n, 1}}));
  using Levels = std::array<float, 16>;
  INTAGLIO_ASSIGN(const Levels levels, read_codebook(layer));
  INTAGLIO_TRY(check_comfy_rotation(layer, Shape{n, k}, descriptor.rotation));
  return LinearEntry{.name = layer.name(),
                     .encoding = Encoding::kInt8Rows,
                     .n = n,
                     .k = k,
                     .values = packed.weight,
                     .scales = scales,
                     .rotation = descriptor.rotation,
                     .float_product = descriptor.float_product,
                     .int8_decoder = std::make_shared<W4A8Rows>(packed, relative, group, levels,
                                                                layer.where("weight_s_rel"))};
}

Expected<LinearEntry> comfy_awq_linear(const Layer& layer, const ComfyDescriptor& descriptor) {
  INTAGLIO_ASSIGN(const Packed packed, packed_weight(layer, kAwqParts));
  INTAGLIO_ASSIGN(const int64_t group, group_of(layer, descriptor, packed.k, kAwqGroup));
  const Shape shape{packed.k / group, packed.n};
  INTAGLIO_ASSIGN(const TensorEntry* const scales,
                  layer.get("weight_scale", kWeightFloats, {shape}));
  const bool is_plural = layer.find("weight_zero") == nullptr;
  INTAGLIO_ASSIGN(const TensorEntry* const zeros,
                  layer.get(is_plural ? "weight_zeros" : "weight_zero", kWeightFloats, {shape}));
  return LinearEntry{.name = layer.name(),
                     .n = packed.n,
                     .k = packed.k,
                     .values = packed.weight,
                     .float_product = descriptor.float_product,
                     .decoder = std::make_shared<AwqRows>(packed, scales, zeros, group)};
}

}  // namespace intaglio
