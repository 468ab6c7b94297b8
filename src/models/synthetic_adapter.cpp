#include "models/synthetic_adapter.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/philox.h"
#include "io/safetensors.h"

namespace intaglio {
namespace {

class Writer {
 public:
  explicit Writer(uint64_t seed) : seed_(seed) {}

  void add(std::string name, const Shape& shape, float deviation) {
    // Whole counters of the stream.
    const auto count = static_cast<size_t>(shape.count());
    std::vector<float> floats((count + 3) / 4 * 4);
    fill_normal(seed_++, floats.data(), static_cast<int64_t>(floats.size()));
    std::vector<BFloat16>& values = values_.emplace_back();
    values.reserve(count);
    for (size_t i = 0; i < count; ++i) values.emplace_back(deviation * floats[i]);
    TensorEntry entry;
    entry.name = std::move(name);
    entry.view = {values.data(), DType::kBF16, shape};
    entries_.push_back(std::move(entry));
  }
  Status write(const std::filesystem::path& path) const {
    return write_safetensors(path, entries_);
  }

 private:
  uint64_t seed_;
  std::deque<std::vector<BFloat16>> values_;
  std::vector<TensorEntry> entries_;
};

}  // namespace

Status write_synthetic_adapter(const Model& model, const SyntheticAdapter& adapter,
                               const std::filesystem::path& path) {
  if (adapter.rank < 1 || adapter.rank > kMostSyntheticRank)
    return make_error(ErrorCode::kInvalidArgument, "rank {}, expected 1 to {}", adapter.rank,
                      kMostSyntheticRank);
  Writer writer(adapter.seed);
  for (int which = 0; which < model.transformers(); ++which) {
    const std::unique_ptr<Transformer> transformer = model.transformer(which, {});
    std::map<std::string, Shape> shapes;
    for (const auto& [name, shape] : transformer->tensor_shapes()) shapes.emplace(name, shape);
    const char* const part = which == 0 ? "transformer" : "unconditional_transformer";
    for (const std::string& linear : transformer->quantized_linears()) {
      if (!adapter.only.empty() && !ends_with_components(linear, adapter.only)) continue;
      const Shape& w = shapes.at(linear + ".weight");
      const std::string name = fmt::format("{}.{}.lora_", part, linear);
      const auto k = static_cast<float>(w[1]), rank = static_cast<float>(adapter.rank);
      writer.add(name + "A.weight", Shape{adapter.rank, w[1]}, 1.0f / std::sqrt(k));
      writer.add(name + "B.weight", Shape{w[0], adapter.rank}, 0.1f / std::sqrt(rank));
      if (adapter.biases) writer.add(name + "B.bias", Shape{w[0]}, 0.1f);
    }
  }
  return writer.write(path);
}

}  // namespace intaglio
