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

namespace {

std::vector<TensorView> views_of(const std::vector<Tensor>& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view);
  return views;
}

// Weights that are used as they lie take over the memory they were read into.
void own(LinearWeights& weights, Tensor& part) {
  if (weights.borrowed == nullptr || weights.borrowed != part.memory.data()) return;
  weights.borrowed = nullptr;
  weights.packed = std::move(part.memory);
}

}  // namespace

Expected<LinearWeights> ModuleLoader::linear(const std::vector<std::string>& names,
                                             const std::vector<int64_t>& rows, int64_t k, bool bias,
                                             std::span<const float> added_bias) {
  INTAGLIO_TRY(check_cancelled(context));
  std::vector<Tensor> parts, biases;
  for (size_t i = 0; i < names.size(); ++i) {
    INTAGLIO_ASSIGN(Tensor w, source.tensor(prefix + names[i] + ".weight", Shape{rows[i], k}));
    parts.push_back(std::move(w));
    if (!bias) continue;
    INTAGLIO_ASSIGN(Tensor b, source.tensor(prefix + names[i] + ".bias", Shape{rows[i]}));
    biases.push_back(std::move(b));
  }
  std::vector<std::string> full_names;
  for (const std::string& name : names) full_names.push_back(prefix + name);
  INTAGLIO_ASSIGN(LinearWeights weights,
                  make_linear(context, selection.kind_of(full_names), GemmEpilogue::kNone,
                              views_of(parts), views_of(biases), added_bias));
  own(weights, parts.front());  // only a single one is used as it lies
  return weights;
}

Expected<LinearWeights> ModuleLoader::swiglu(const std::string& gate, const std::string& up,
                                             int64_t rows, int64_t k) {
  INTAGLIO_TRY(check_cancelled(context));
  INTAGLIO_ASSIGN(const Tensor w_gate, source.tensor(prefix + gate + ".weight", Shape{rows, k}));
  INTAGLIO_ASSIGN(const Tensor w_up, source.tensor(prefix + up + ".weight", Shape{rows, k}));
  const LinearKind kind = selection.kind_of(std::vector<std::string>{prefix + gate, prefix + up});
  return make_linear(context, kind, GemmEpilogue::kSwiglu, {w_gate.view, w_up.view}, {});
}

Expected<LinearWeights> ModuleLoader::linear_padded(const std::string& name, int64_t rows,
                                                    int64_t k, int64_t padded_k) {
  if (padded_k == k) return linear({name}, {rows}, k, false);
  INTAGLIO_ASSIGN(const Tensor tensor, source.tensor(prefix + name + ".weight", Shape{rows, k}));
  const TensorView& w = tensor.view;
  Tensor padded;
  INTAGLIO_ASSIGN(padded.memory,
                  AlignedBuffer::allocate(static_cast<size_t>(rows * padded_k) * sizeof(float)));
  auto* const values = padded.memory.as<float>();
  std::fill_n(values, rows * padded_k, 0.0f);
  const auto* bytes = static_cast<const std::byte*>(w.data);
  for (int64_t r = 0; r < rows; ++r) {
    convert_to_f32(bytes + static_cast<size_t>(r * k) * dtype_size(w.dtype), w.dtype,
                   values + r * padded_k, static_cast<size_t>(k));
  }
  padded.view = {values, DType::kF32, Shape{rows, padded_k}};
  INTAGLIO_ASSIGN(LinearWeights weights, make_linear(context, selection.kind_of(prefix + name),
                                                     GemmEpilogue::kNone, {padded.view}, {}));
  own(weights, padded);
  return weights;
}

Expected<AlignedBuffer> ModuleLoader::vector(const std::string& name, const Shape& shape) {
  INTAGLIO_ASSIGN(const std::vector<float> values, host_vector(name, shape));
  return upload(context, values);
}

Expected<std::vector<float>> ModuleLoader::host_vector(const std::string& name,
                                                       const Shape& shape) {
  INTAGLIO_ASSIGN(const Tensor tensor, source.tensor(prefix + name, shape));
  std::vector<float> values(static_cast<size_t>(shape.count()));
  convert_to_f32(tensor.view.data, tensor.view.dtype, values.data(), values.size());
  return values;
}

}  // namespace intaglio
