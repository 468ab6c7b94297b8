#include "io/formats/bitsandbytes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/config_keys.h"
#include "io/formats/layer.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kNf4State = "weight.quant_state.bitsandbytes__nf4";
constexpr std::string_view kFp4State = "weight.quant_state.bitsandbytes__fp4";
constexpr int64_t kMaxSize = int64_t{1} << 40;

constexpr int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

// The largest magnitudes of blocks: floats, or quantized a second time.
struct BlockMaxima {
  const TensorEntry* absmax = nullptr;
  const TensorEntry* nested_absmax = nullptr;  // nullptr: absmax is F32
  std::vector<float> nested_map;               // [256]
  int64_t nested_block = 0;
  float offset = 0.0f;

  Status read(int64_t first, int64_t count, std::vector<float>& out) const {
    out.resize(static_cast<size_t>(count));
    if (nested_absmax == nullptr) return read_some_floats(*absmax, first, count, out.data());
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(*absmax, first, count, bytes));
    const int64_t begin = first / nested_block;
    std::vector<float> scales(static_cast<size_t>(blocks_of(first + count, nested_block) - begin));
    INTAGLIO_TRY(read_some_floats(*nested_absmax, begin, static_cast<int64_t>(scales.size()),
                                  scales.data()));
    for (int64_t i = 0; i < count; ++i) {
      const float value = nested_map[static_cast<size_t>(bytes[static_cast<size_t>(i)])];
      const auto scale = static_cast<size_t>((first + i) / nested_block - begin);
      out[static_cast<size_t>(i)] = value * scales[scale] + offset;
    }
    return {};
  }
};

class FourBitRows : public LinearDecoder {
 public:
  FourBitRows(const TensorEntry& codes, int64_t k, int64_t block, std::array<float, 16> map,
              BlockMaxima maxima)
      : codes_(codes), k_(k), block_(block), map_(map), maxima_(std::move(maxima)) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t first = begin * k_, last = end * k_;
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(codes_, first / 2, blocks_of(last, 2) - first / 2, bytes));
    std::vector<float> maxima;
    INTAGLIO_TRY(maxima_.read(first / block_, blocks_of(last, block_) - first / block_, maxima));
    for (int64_t i = first; i < last;) {
      const int64_t block_end = std::min(last, (i / block_ + 1) * block_);
      const float scale = maxima[static_cast<size_t>(i / block_ - first / block_)];
      for (; i < block_end; ++i) {
        const int byte = static_cast<int>(bytes[static_cast<size_t>(i / 2 - first / 2)]);
        *out++ = map_[static_cast<size_t>(i % 2 == 0 ? byte >> 4 : byte & 15)] * scale;
      }
    }
    return {};
  }

 private:
  const TensorEntry& codes_;
  int64_t k_, block_;
  std::array<float, 16> map_;
  BlockMaxima maxima_;
};

constexpr ConfigKey kStateKeys[] = {{"quant_type"},
                                    {"blocksize"},
                                    {"shape"},
                                    {"dtype", KeyRole::kHarmless},
                                    {"nested_blocksize"},
                                    {"nested_offset"},
                                    {"nested_dtype", KeyRole::kOnly, R"(["float32"])"}};

Expected<JsonConfig> read_state(const Layer& layer, std::string_view part) {
  INTAGLIO_ASSIGN(const TensorEntry* const entry, layer.get(part));
  INTAGLIO_ASSIGN(const std::string text, read_descriptor_text(layer.tensors(), *entry));
  INTAGLIO_ASSIGN(const JsonConfig state, JsonConfig::parse(text, layer.where(part)));
  const KeyedConfig keyed{state, kStateKeys};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  const std::string_view said = part == kNf4State ? "nf4" : "fp4";
  INTAGLIO_ASSIGN(const std::string type, state.string_or("quant_type", std::string(said)));
  if (type == said) return state;
  return make_error(ErrorCode::kUnsupported, "{}quant_type: found \"{}\", expected \"{}\"",
                    state.where(), printable(type), said);
}

Expected<BlockMaxima> read_maxima(const Layer& layer, const JsonConfig& state, int64_t blocks) {
  BlockMaxima maxima;
  if (layer.find("weight.nested_absmax") == nullptr) {
    INTAGLIO_ASSIGN(maxima.absmax, layer.get("weight.absmax", {DType::kF32}, {Shape{blocks}}));
    return maxima;
  }
  INTAGLIO_ASSIGN(maxima.absmax, layer.get("weight.absmax", {DType::kU8}, {Shape{blocks}}));
  INTAGLIO_ASSIGN(maxima.nested_block, state.integer("nested_blocksize", 1, kMaxSize));
  INTAGLIO_ASSIGN(const double offset, state.number("nested_offset"));
  if (std::fabs(offset) > std::numeric_limits<float>::max()) {
    return make_error(ErrorCode::kBadFormat, "{}nested_offset: found {}, expected a float",
                      state.where(), offset);
  }
  maxima.offset = static_cast<float>(offset);
  INTAGLIO_ASSIGN(maxima.nested_absmax, layer.get("weight.nested_absmax", {DType::kF32},
                                                  {Shape{blocks_of(blocks, maxima.nested_block)}}));
  INTAGLIO_ASSIGN(const TensorEntry* const map,
                  layer.get("weight.nested_quant_map", {DType::kF32}, {Shape{256}}));
  INTAGLIO_ASSIGN(maxima.nested_map, read_floats(*map));
  return maxima;
}

Expected<LinearEntry> four_bit_linear(const Layer& layer) {
  INTAGLIO_TRY(layer.refuse_other_parts(kBitsandbytesParts, "a four-bit weight"));
  const std::string_view part = layer.find(kNf4State) != nullptr ? kNf4State : kFp4State;
  INTAGLIO_ASSIGN(const JsonConfig state, read_state(layer, part));
  INTAGLIO_ASSIGN(const int64_t block, state.integer("blocksize", 1, kMaxSize));
  INTAGLIO_ASSIGN(const std::vector<int64_t> shape, state.integers("shape", 1, kMaxSize, 2));
  int64_t count = 0;
  if (shape.size() != 2 || __builtin_mul_overflow(shape[0], shape[1], &count)) {
    return make_error(ErrorCode::kBadFormat, "{}shape: expected [n, k]", state.where());
  }
  const int64_t bytes = count / 2 + count % 2;
  INTAGLIO_ASSIGN(const TensorEntry* const codes,
                  layer.get("weight", {DType::kU8}, {Shape{bytes, 1}, Shape{bytes}}));
  INTAGLIO_ASSIGN(const TensorEntry* const map,
                  layer.get("weight.quant_map", {DType::kF32}, {Shape{16}}));
  std::array<float, 16> levels{};
  INTAGLIO_TRY(read_some_floats(*map, 0, 16, levels.data()));
  INTAGLIO_ASSIGN(BlockMaxima maxima, read_maxima(layer, state, blocks_of(count, block)));
  return LinearEntry{
      .name = layer.name(),
      .n = shape[0],
      .k = shape[1],
      .values = codes,
      .decoder = std::make_shared<FourBitRows>(*codes, shape[1], block, levels, std::move(maxima))};
}

Expected<LinearEntry> eight_bit_linear(const Layer& layer) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  if (!has_type(*weight, DType::kI8)) {
    return make_error(ErrorCode::kBadFormat, "{}: found {}, expected I8 [n, k] beside SCB",
                      layer.where("weight"), type_and_shape(*weight));
  }
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(kBitsandbytesParts, "an int8 weight"));
  const int64_t n = weight->view.shape[0];
  INTAGLIO_ASSIGN(const TensorEntry* const scales, layer.get("SCB", {DType::kF32}, {Shape{n}}));
  INTAGLIO_ASSIGN(const TensorEntry* const format,
                  layer.get("weight_format", {DType::kU8}, {Shape{}, Shape{1}}));
  std::vector<std::byte> layout;
  INTAGLIO_TRY(read_some_bytes(*format, 0, 1, layout));
  if (layout.front() != std::byte{0}) {
    return make_error(ErrorCode::kUnsupported,
                      "{}: found {}, a tiled layout of an old version; supported is 0, rows",
                      layer.where("weight_format"), static_cast<int>(layout.front()));
  }
  return LinearEntry{.name = layer.name(),
                     .encoding = Encoding::kInt8Rows,
                     .n = n,
                     .k = weight->view.shape[1],
                     .values = weight,
                     .scales = scales,
                     .scale_divisor = 127.0f};
}

std::vector<Layer> quantized_layers(const TensorSet& tensors) {
  std::vector<Layer> layers;
  for (const std::string_view part : {kNf4State, kFp4State, std::string_view("SCB")}) {
    for (Layer& layer : layers_with(tensors, part)) layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

Refusal bitsandbytes_refusal(const TensorSet& tensors) {
  return quantized_layers(tensors).empty() ? "no quant_state and no SCB of bitsandbytes" : nullptr;
}

Expected<std::vector<LinearEntry>> bitsandbytes_linears(const TensorSet& tensors) {
  return linears_of(tensors, quantized_layers(tensors), [](const Layer& layer) {
    return layer.find("SCB") != nullptr ? eight_bit_linear(layer) : four_bit_linear(layer);
  });
}

}  // namespace intaglio
