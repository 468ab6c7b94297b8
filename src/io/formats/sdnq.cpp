#include "io/formats/sdnq.h"

#include <algorithm>
#include <cmath>

#include "io/formats/affine_rows.h"
#include "io/formats/quantization_config.h"
#include "io/formats/sdnq_config.h"

namespace intaglio {
namespace {

// The weight as it lies, and what is added and turned.
struct SdnqWeight {
  AffineBlocks blocks;  // of W, or, transposed, of its shape alone
  bool transposed = false;
  const TensorEntry* up = nullptr;  // svd; both or none
  const TensorEntry* down = nullptr;
  int64_t rank = 0;
  int64_t hadamard_group = 0;  // 0: none
};

// Columns [begin, end) of a matrix [rows, columns] of bytes, turned into rows: [end - begin, rows].
Status read_transposed(const TensorEntry& entry, int64_t begin, int64_t end, std::byte* out) {
  const int64_t rows = entry.view.shape[0], columns = entry.view.shape[1], count = end - begin;
  std::vector<std::byte> bytes;
  for (int64_t r = 0; r < rows; ++r) {
    INTAGLIO_TRY(read_some_bytes(entry, r * columns + begin, count, bytes));
    for (int64_t c = 0; c < count; ++c) out[c * rows + r] = bytes[static_cast<size_t>(c)];
  }
  return {};
}

// A read takes a part of every stored row, so that few large ones are better than many small ones.
constexpr int64_t kTransposedPiece = int64_t{4} << 20;

class TransposedRows : public Int8Decoder {
 public:
  explicit TransposedRows(const TensorEntry& values) : values_(values) {}
  Status rows(int64_t begin, int64_t end, int8_t* out) const override {
    return read_transposed(values_, begin, end, reinterpret_cast<std::byte*>(out));
  }
  int64_t piece_elements() const override { return kTransposedPiece; }

 private:
  const TensorEntry& values_;
};

// Rows [begin, end) of q scale of a transposed weight.
Status scaled_transposed(const AffineBlocks& blocks, int64_t begin, int64_t end, float* out) {
  const int64_t count = end - begin;
  std::vector<std::byte> bytes(static_cast<size_t>(count * blocks.k));
  INTAGLIO_TRY(read_transposed(*blocks.values, begin, end, bytes.data()));
  std::vector<float> scales(static_cast<size_t>(count));
  INTAGLIO_TRY(read_some_floats(*blocks.scales, begin, count, scales.data()));
  for (size_t i = 0; i < bytes.size(); ++i) {
    out[i] = static_cast<float>(static_cast<int8_t>(bytes[i])) *
             scales[i / static_cast<size_t>(blocks.k)];
  }
  return {};
}

class SdnqRows : public LinearDecoder {
 public:
  explicit SdnqRows(const SdnqWeight& weight)
      : w_(weight), plain_(weight.transposed ? nullptr : make_affine_rows(weight.blocks)) {}

  Status rows(int64_t begin, int64_t end, float* out) const override {
    if (w_.transposed) {
      INTAGLIO_TRY(scaled_transposed(w_.blocks, begin, end, out));
    } else {
      INTAGLIO_TRY(plain_->rows(begin, end, out));
    }
    if (w_.up != nullptr) INTAGLIO_TRY(add_low_rank(begin, end, out));
    const int64_t k = w_.blocks.k, group = w_.hadamard_group;
    for (int64_t r = begin; r < (group > 0 ? end : begin); ++r, out += k) {
      if (rotation_refusal(k, group) == nullptr) {
        rotate_row(out, k, group);
      } else {
        sylvester_row(out, k, group);
      }
    }
    return {};
  }
  int64_t piece_elements() const override {
    return w_.transposed || w_.up != nullptr ? kTransposedPiece : kDecodedPiece;
  }

 private:
  // out += up down, in float, the rank's terms in order.
  Status add_low_rank(int64_t begin, int64_t end, float* out) const {
    const int64_t n = w_.blocks.n, k = w_.blocks.k, rank = w_.rank, count = end - begin;
    std::vector<float> up(static_cast<size_t>(count * rank)), down(static_cast<size_t>(rank * k));
    INTAGLIO_TRY(read_some_floats(*w_.down, 0, rank * k, down.data()));
    if (w_.transposed) {
      for (int64_t j = 0; j < rank; ++j)
        INTAGLIO_TRY(read_some_floats(*w_.up, j * n + begin, count, up.data() + j * count));
    } else {
      INTAGLIO_TRY(read_some_floats(*w_.up, begin * rank, count * rank, up.data()));
    }
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t j = 0; j < rank; ++j) {
        const auto at = static_cast<size_t>(w_.transposed ? j * count + r : r * rank + j);
        const float* const d = down.data() + (w_.transposed ? j : j * k);
        const int64_t step = w_.transposed ? rank : 1;
        for (int64_t c = 0; c < k; ++c) out[r * k + c] += up[at] * d[c * step];
      }
    }
    return {};
  }

  SdnqWeight w_;
  std::shared_ptr<const LinearDecoder> plain_;
};

// The weight's blocks by the shape of its scale.
Expected<SdnqWeight> read_shapes(const Layer& layer, const TensorEntry& weight) {
  INTAGLIO_ASSIGN(const TensorEntry* const scale, layer.get("scale"));
  const Shape& w = weight.view.shape;
  const Shape& s = scale->view.shape;
  SdnqWeight result;
  AffineBlocks& b = result.blocks;
  b.values = &weight;
  b.scales = scale;
  b.zero_is_added = true;
  const bool grouped = w.rank == 3 && s == Shape{w[0], w[1], 1};
  const bool rows = w.rank == 2 && s == Shape{w[0], 1};
  result.transposed = !rows && w.rank == 2 && s == Shape{1, w[1]} && has_type(weight, DType::kI8);
  if (w.count() == 0 || !has_type(*scale, DType::kF32) || !(grouped || rows || result.transposed)) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: found {} beside a weight {}, expected F32 [n, 1] of [n, k], [n, g, 1] "
                      "of [n, g, k / g] or [1, n] of I8 [k, n]",
                      layer.where("scale"), type_and_shape(*scale), type_and_shape(weight));
  }
  b.n = result.transposed ? w[1] : w[0];
  b.k = result.transposed ? w[0] : w.count() / w[0];
  b.rows = b.n;
  b.groups = grouped ? w[1] : 1;
  INTAGLIO_ASSIGN(b.zeros, layer.find("zero_point", kWeightFloats, {s}));
  if (has_type(weight, DType::kU8) != (b.zeros != nullptr)) {
    return make_error(ErrorCode::kUnsupported, "{}: {} beside {}", layer.where("zero_point"),
                      b.zeros == nullptr ? "missing" : "not known", type_and_shape(weight));
  }
  return result;
}

Status read_low_rank(const Layer& layer, SdnqWeight& weight) {
  const TensorEntry* const up = layer.find("svd_up");
  if (up == nullptr && layer.find("svd_down") == nullptr) return {};
  const int64_t n = weight.blocks.n, k = weight.blocks.k;
  const bool is_matrix = up != nullptr && up->view.shape.rank == 2 && up->view.shape.count() > 0;
  const int64_t rank = is_matrix ? up->view.shape[weight.transposed ? 0 : 1] : 1;
  const Shape up_shape = weight.transposed ? Shape{rank, n} : Shape{n, rank};
  const Shape down_shape = weight.transposed ? Shape{k, rank} : Shape{rank, k};
  INTAGLIO_ASSIGN(weight.up, layer.get("svd_up", kWeightFloats, {up_shape}));
  INTAGLIO_ASSIGN(weight.down, layer.get("svd_down", kWeightFloats, {down_shape}));
  weight.rank = rank;
  return {};
}

Expected<LinearEntry> sdnq_linear(const Layer& layer, const SdnqHadamard& hadamard) {
  INTAGLIO_ASSIGN(const TensorEntry* const values, layer.get("weight"));
  INTAGLIO_TRY(layer.refuse_other_parts(kSdnqParts, "a weight of SDNQ"));
  INTAGLIO_ASSIGN(SdnqWeight weight, read_shapes(layer, *values));
  INTAGLIO_TRY(read_low_rank(layer, weight));
  const int64_t k = weight.blocks.k;
  if (hadamard.used) weight.hadamard_group = sdnq_hadamard_group(k, hadamard.most);
  LinearEntry linear{.name = layer.name(), .n = weight.blocks.n, .k = k, .values = values};
  const int64_t group = weight.hadamard_group;
  // A rotation that no kernel knows, Sylvester's or one of groups of 4, is undone in the decoder:
  // the rows are floats then.
  const bool turns = group == 0 || rotation_refusal(k, group) == nullptr;
  const bool is_rows =
      has_type(*values, DType::kI8) && weight.blocks.groups == 1 && weight.up == nullptr && turns;
  if (!is_rows) {
    linear.decoder = std::make_shared<SdnqRows>(weight);
    return linear;
  }
  linear.encoding = Encoding::kInt8Rows;
  linear.scales = weight.blocks.scales;
  if (group > 0) linear.rotation = Rotation::convrot(group);
  if (weight.transposed) linear.int8_decoder = std::make_shared<TransposedRows>(*values);
  return linear;
}

std::vector<Layer> sdnq_layers(const TensorSet& tensors) {
  std::vector<Layer> layers;
  for (Layer& layer : layers_with(tensors, "scale")) {
    const TensorEntry* const weight = layer.find("weight");
    if (weight != nullptr && (has_type(*weight, DType::kI8) || has_type(*weight, DType::kU8)))
      layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace

void sylvester_row(float* x, int64_t cols, int64_t group) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(group));
  for (float* const end = x + cols; x != end; x += group) {
    for (int64_t stride = 1; stride < group; stride *= 2) {
      for (int64_t i = 0; i < group; ++i) {
        if ((i & stride) != 0) continue;
        const float a = x[i], b = x[i + stride];
        x[i] = a + b;
        x[i + stride] = a - b;
      }
    }
    for (int64_t i = 0; i < group; ++i) x[i] *= scale;
  }
}

Refusal sdnq_refusal(const TensorSet& tensors) {
  return sdnq_layers(tensors).empty() ? "no integer weight with a scale of SDNQ" : nullptr;
}

Expected<std::vector<LinearEntry>> sdnq_linears(const TensorSet& tensors) {
  INTAGLIO_ASSIGN(const JsonConfig config, quantization_config(tensors));
  if (!is_quantized_by(tensors, "sdnq")) {
    return make_error(ErrorCode::kUnsupported,
                      "{}quant_method: expected \"sdnq\", whose names these weights have",
                      config.where());
  }
  INTAGLIO_ASSIGN(const SdnqConfig read, read_sdnq_config(config));
  return linears_of(tensors, sdnq_layers(tensors),
                    [&](const Layer& layer) { return sdnq_linear(layer, read.of(layer.name())); });
}

}  // namespace intaglio
