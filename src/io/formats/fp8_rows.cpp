#include "io/formats/fp8_rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "core/parallel_tasks.h"
#include "io/formats/fp8.h"
#include "io/printable.h"

namespace intaglio {
namespace {

// Bytes that a thread reads and looks through at once.
constexpr int64_t kReadPiece = int64_t{1} << 20;

class Fp8Rows : public LinearDecoder {
 public:
  Fp8Rows(const TensorEntry& weight, const TensorEntry* scale) : weight_(weight), scale_(scale) {}

  const TensorEntry& weight() const { return weight_; }
  const TensorEntry* scale() const { return scale_; }

  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t k = weight_.view.shape[1], count = end - begin;
    std::vector<std::byte> bytes;
    INTAGLIO_TRY(read_some_bytes(weight_, begin * k, count * k, bytes));
    if (weight_.view.dtype == DType::kF8E4M3) {
      convert_to_f32(bytes.data(), DType::kF8E4M3, out, bytes.size());
    } else {
      convert_bytes(bytes, values_of_fp8(weight_.view.dtype), out);
    }
    if (scale_ == nullptr) return {};
    std::vector<float> scales(static_cast<size_t>(count));
    INTAGLIO_TRY(read_scales(begin, scales));
    for (const float scale : scales)
      for (const float* const row = out + k; out != row; ++out) *out *= scale;
    return {};
  }

  // Of rows `begin` and on, where there are scales.
  Status read_scales(int64_t begin, std::span<float> out) const {
    if (scale_->view.shape.count() > 1)
      return read_some_floats(*scale_, begin, static_cast<int64_t>(out.size()), out.data());
    INTAGLIO_TRY(read_some_floats(*scale_, 0, 1, out.data()));
    std::fill(out.begin(), out.end(), out.front());
    return {};
  }

 private:
  const TensorEntry& weight_;
  const TensorEntry* scale_;
};

bool has_nan(std::span<const std::byte> bytes) {
  std::byte most{0};  // a maximum: the loop takes many bytes at once
  for (const std::byte byte : bytes) most = std::max(most, byte & std::byte{0x7F});
  return most == std::byte{0x7F};
}

// Of e4m3.
class E4m3Reader : public RowReader {
 public:
  E4m3Reader(std::string path, const TensorEntry& weight)
      : path_(std::move(path)), weight_(weight) {}

  Status rows(int64_t first, int64_t count, std::byte* out) const override {
    const int64_t k = weight_.view.shape[1];
    const std::span<std::byte> bytes(out, static_cast<size_t>(count * k));
    INTAGLIO_TRY(read_tensor_bytes(weight_, static_cast<uint64_t>(first * k), bytes));
    if (!has_nan(bytes)) return {};
    int64_t row = 0;
    while (!has_nan({out + row * k, static_cast<size_t>(k)})) ++row;
    return make_error(ErrorCode::kBadFormat, "{}: {}: row {} holds an Inf or a NaN", path_,
                      printable(weight_.name), first + row);
  }

 private:
  std::string path_;
  const TensorEntry& weight_;
};

// Scales and types of a part, without values. nullopt as read_e4m3_rows, but for NaN.
Expected<std::optional<LoadedLinear>> e4m3_part(const LinearEntry& entry, const LinearPart& part) {
  constexpr float kLargest = 448.0f;
  const auto* const rows = dynamic_cast<const Fp8Rows*>(entry.decoder.get());
  const bool fits = rows != nullptr && rows->weight().view.dtype == DType::kF8E4M3 &&
                    part.k == entry.k && part.count > 0;
  if (!fits) return std::nullopt;
  const auto count = static_cast<size_t>(part.count);
  LoadedLinear loaded;
  INTAGLIO_ASSIGN(loaded.scales, AlignedBuffer::allocate(count * sizeof(float)));
  const std::span<float> scales(loaded.scales.as<float>(), count);
  std::fill(scales.begin(), scales.end(), 1.0f);
  if (rows->scale() != nullptr) INTAGLIO_TRY(rows->read_scales(part.first, scales));
  for (const float scale : scales)
    if (!std::isfinite(scale * kLargest)) return std::nullopt;
  loaded.linear.values = {nullptr, DType::kF8E4M3, Shape{part.count, part.k}};
  loaded.linear.scales = {loaded.scales.data(), DType::kF32, Shape{part.count}};
  loaded.linear.float_product = entry.float_product;
  loaded.linear.decoded = true;
  return loaded;
}

// nullptr: none. kBadFormat for two, or for another type or shape.
Expected<const TensorEntry*> scale_of(const Layer& layer, int64_t n) {
  const bool is_old = layer.find("scale_weight") != nullptr;
  if (is_old && layer.find("weight_scale") != nullptr) {
    return make_error(ErrorCode::kBadFormat, "{}: scale_weight is there too",
                      layer.where("weight_scale"));
  }
  return layer.find(is_old ? "scale_weight" : "weight_scale", kWeightFloats,
                    {Shape{}, Shape{1}, Shape{n}, Shape{n, 1}});
}

}  // namespace

std::shared_ptr<const LinearDecoder> make_fp8_rows(const TensorEntry& weight,
                                                   const TensorEntry* scale) {
  return std::make_shared<Fp8Rows>(weight, scale);
}

Expected<std::optional<LoadedLinear>> read_e4m3_rows(const LinearEntry& entry,
                                                     const Context& context,
                                                     const LinearPart& part) {
  INTAGLIO_ASSIGN(std::optional<LoadedLinear> found, e4m3_part(entry, part));
  if (!found) return std::nullopt;
  LoadedLinear& loaded = *found;
  const int64_t bytes = part.count * part.k, begin = part.first * part.k;
  INTAGLIO_ASSIGN(loaded.values, AlignedBuffer::allocate(static_cast<size_t>(bytes)));
  std::atomic<bool> bad{false};
  INTAGLIO_TRY(parallel_tasks(context, bytes, kReadPiece, [&](int64_t from, int64_t to, int) {
    const std::span<std::byte> piece(loaded.values.as<std::byte>() + from,
                                     static_cast<size_t>(to - from));
    const auto at = static_cast<uint64_t>(begin + from);
    if (!read_tensor_bytes(*entry.values, at, piece) || has_nan(piece)) bad = true;
  }));
  if (bad) return std::nullopt;
  loaded.linear.values.data = loaded.values.data();
  return found;
}

Expected<std::optional<LoadedLinear>> defer_e4m3_rows(const std::string& path,
                                                      const LinearEntry& entry,
                                                      const LinearPart& part) {
  INTAGLIO_ASSIGN(std::optional<LoadedLinear> found, e4m3_part(entry, part));
  if (!found) return std::nullopt;
  found->reader = std::make_shared<E4m3Reader>(path, *entry.values);
  found->linear.reader = found->reader.get();
  found->linear.first_row = part.first;
  return found;
}

Expected<LinearEntry> fp8_linear(const Layer& layer, std::span<const std::string_view> known) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  INTAGLIO_TRY(layer.refuse_other_parts(known, "an fp8 weight"));
  const Shape& shape = weight->view.shape;
  INTAGLIO_ASSIGN(const TensorEntry* const scale, scale_of(layer, shape[0]));
  return LinearEntry{.name = layer.name(),
                     .n = shape[0],
                     .k = shape[1],
                     .values = weight,
                     .decoder = make_fp8_rows(*weight, scale)};
}

bool is_fp8_tensor(const TensorEntry& entry) {
  return entry.foreign.empty() && is_fp8(entry.view.dtype);
}

}  // namespace intaglio
