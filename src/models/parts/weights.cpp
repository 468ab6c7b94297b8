#include "models/parts/weights.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/memory.h"
#include "core/philox.h"
#include "io/printable.h"

namespace intaglio {

Status refuse_layers_beyond(const Checkpoint& checkpoint, std::string_view prefix, int64_t count,
                            std::string_view key) {
  for (const TensorEntry* entry : checkpoint.tensors()) {
    if (!entry->name.starts_with(prefix)) continue;
    const char* const end = entry->name.data() + entry->name.size();
    int64_t layer = -1;
    const auto [rest, error] = std::from_chars(entry->name.data() + prefix.size(), end, layer);
    if (error != std::errc() || rest == end || *rest != '.' || layer < count) continue;
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: holds {}, beyond the {} of the config ({}); the config is not that of "
                      "these weights",
                      checkpoint.path().string(), printable(entry->name), count, key);
  }
  return {};
}

Status CheckpointSource::check(const TensorShapes& shapes) {
  for (const auto& [name, shape] : shapes) reader_.require(name, shape);
  return reader_.finish();
}

Expected<const TensorEntry*> CheckpointSource::entry(const std::string& name, const Shape& shape) {
  const TensorEntry* const found = reader_.require(name, shape);
  if (found == nullptr) {
    return make_error(ErrorCode::kShapeMismatch, "tensor {} of shape {} is not in {}", name,
                      to_string(shape), checkpoint_->path().string());
  }
  return found;
}

Expected<Tensor> CheckpointSource::tensor(const std::string& name, const Shape& shape) {
  INTAGLIO_ASSIGN(const TensorEntry* const found, entry(name, shape));
  return read_tensor(*found);
}

Status CheckpointSource::rows(const std::string& name, const Shape& shape,
                              std::span<const int64_t> which, float* out) {
  INTAGLIO_ASSIGN(const TensorEntry* const found, entry(name, shape));
  const auto columns = static_cast<size_t>(shape[1]);
  const DType dtype = found->view.dtype;
  std::vector<std::byte> row(columns * dtype_size(dtype));
  for (const int64_t index : which) {
    INTAGLIO_TRY(read_tensor_bytes(*found, static_cast<uint64_t>(index) * row.size(), row));
    convert_to_f32(row.data(), dtype, out, columns);
    out += columns;
  }
  return {};
}

Status SyntheticSource::check(const TensorShapes& shapes) {
  for (const auto& [name, shape] : shapes) {
    Block& block = (*blocks_)[key_of(shape)];
    block.most = std::max(block.most, shape.count());
  }
  return {};
}

Expected<Tensor> SyntheticSource::tensor(const std::string& name, const Shape& shape) {
  // One run of noise repeated with a stride coprime to every row length: cheap to fill, and no two rows are equal.
  constexpr int64_t kNoise = 1048573;
  const auto found = blocks_->find(key_of(shape));
  if (found == blocks_->end() || found->second.most < shape.count())
    return make_error(ErrorCode::kInvalidArgument, "synthetic tensor {} was not announced", name);
  Block& block = found->second;
  if (block.values.size() == 0) {
    const bool matrix = found->first > 0;
    const float deviation = matrix ? 1.0f / std::sqrt(static_cast<float>(found->first)) : 0.1f;
    const float mean = matrix ? 0.0f : 1.0f;
    std::vector<float> noise(static_cast<size_t>(kNoise));
    fill_normal(seed_ ^ static_cast<uint64_t>(found->first), noise.data(), kNoise);
    INTAGLIO_ASSIGN(block.values, AlignedBuffer::allocate(static_cast<size_t>(block.most + kNoise) *
                                                          sizeof(BFloat16)));
    auto* const out = block.values.as<BFloat16>();
    for (int64_t i = 0; i < kNoise; ++i)
      out[i] = BFloat16(mean + deviation * noise[static_cast<size_t>(i)]);
    for (int64_t i = kNoise; i < block.most + kNoise; i += kNoise) {
      if (cancel_ != nullptr && cancel_->load(std::memory_order_relaxed)) {
        block.values = AlignedBuffer();
        return make_error(ErrorCode::kCancelled, "stopped on request");
      }
      std::memcpy(
          out + i, out,
          static_cast<size_t>(std::min(kNoise, block.most + kNoise - i)) * sizeof(BFloat16));
    }
  }
  // Windows begin at multiples of 64 bytes.
  const auto place =
      static_cast<int64_t>(std::hash<std::string>{}(name) % static_cast<uint64_t>(kNoise / 32)) *
      32;
  return Tensor{{block.values.as<BFloat16>() + place, DType::kBF16, shape}, {}};
}

Status SyntheticSource::rows(const std::string& name, const Shape& shape,
                             std::span<const int64_t> which, float* out) {
  INTAGLIO_ASSIGN(const Tensor all, tensor(name, shape));
  const auto columns = static_cast<size_t>(shape[1]);
  for (const int64_t index : which) {
    convert_to_f32(all.view.as<BFloat16>() + static_cast<size_t>(index) * columns, DType::kBF16,
                   out, columns);
    out += columns;
  }
  return {};
}

}  // namespace intaglio
