#include "bench/fp8_checkpoint.h"

#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include "core/dtype.h"
#include "interrupt.h"
#include "io/safetensors_writer.h"

namespace intaglio::cli {
namespace {

// A linear congruential generator with a mixed output (Steele, Lea, Flood: SplitMix64): gigabytes
// in seconds.
class Bits {
 public:
  explicit Bits(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// Any e4m3 but the two NaN, whose lower seven bits are ones.
void fill_e4m3(Bits& bits, std::vector<std::byte>& out) {
  for (size_t i = 0; i < out.size(); i += sizeof(uint64_t)) {
    uint64_t word = bits.next();
    for (int shift = 0; shift < 64; shift += 8)
      if ((word >> shift & 0x7F) == 0x7F) word ^= uint64_t{1} << shift;
    std::memcpy(out.data() + i, &word, std::min(sizeof(word), out.size() - i));
  }
}

// Evenly spread over mean - width .. mean + width.
float uniform(Bits& bits, float mean, float width) {
  return mean + width * (static_cast<float>(bits.next() >> 40) * 0x1p-23f - 1.0f);
}

// Numbers of one tensor in its type. Half of all e4m3 lie within 2^-3 .. 2^5: rows of k of them are
// brought to the size of trained ones by scales near 1 / (100 sqrt(k)).
void fill(const TensorEntry& tensor, int64_t columns, std::vector<std::byte>& out) {
  Bits bits(std::hash<std::string>{}(tensor.name));
  out.resize(tensor.view.size_bytes());
  const float deviation = 1.0f / std::sqrt(static_cast<float>(columns));
  const auto count = static_cast<size_t>(tensor.view.shape.count());
  if (tensor.view.dtype == DType::kF8E4M3) return fill_e4m3(bits, out);
  for (size_t i = 0; i < count; ++i) {
    if (tensor.view.dtype == DType::kF32) {
      const float scale = uniform(bits, deviation / 100.0f, deviation / 200.0f);
      std::memcpy(out.data() + i * sizeof(scale), &scale, sizeof(scale));
    } else {
      const bool matrix = tensor.view.shape.rank > 1;
      const BFloat16 value(matrix ? uniform(bits, 0.0f, deviation) : uniform(bits, 1.0f, 0.1f));
      std::memcpy(out.data() + i * sizeof(value), &value, sizeof(value));
    }
  }
}

}  // namespace

Status write_fp8_checkpoint(const std::filesystem::path& file, Transformer& transformer) {
  const std::vector<std::string> quantized = transformer.quantized_linears();
  const std::set<std::string> names(quantized.begin(), quantized.end());
  constexpr std::string_view kWeight = ".weight";
  std::vector<TensorEntry> tensors;
  std::vector<int64_t> columns;
  for (const auto& [name, shape] : transformer.tensor_shapes()) {
    const int64_t k = shape.rank > 1 ? shape[1] : shape[0];
    const bool is_weight = name.ends_with(kWeight) && shape.rank == 2;
    const bool fp8 = is_weight && names.contains(name.substr(0, name.size() - kWeight.size()));
    tensors.push_back({name, {nullptr, fp8 ? DType::kF8E4M3 : DType::kBF16, shape}});
    columns.push_back(k);
    if (!fp8) continue;
    tensors.push_back({name + "_scale", {nullptr, DType::kF32, Shape{shape[0]}}});
    columns.push_back(k);
  }
  INTAGLIO_ASSIGN(SafetensorsWriter writer,
                  SafetensorsWriter::begin(file, tensors, {}, "random fp8 weights", &interrupted));
  std::vector<std::byte> bytes;
  for (size_t i = writer.next(); i < tensors.size(); ++i) {
    fill(tensors[i], columns[i], bytes);
    INTAGLIO_TRY(writer.write(bytes));
  }
  return writer.commit();
}

}  // namespace intaglio::cli
