#include "models/parts/modules.h"

#include <algorithm>
#include <numeric>

#include "core/memory.h"
#include "models/parts/weight_streaming.h"

namespace intaglio {
namespace {

// A value of the largest tensor on its way in: as it lies in the file, at most F32, and its int8 form.
constexpr uint64_t kStagingBytes = 5;

uint64_t sum_of(const std::vector<uint64_t>& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
}

uint64_t largest_of(const std::vector<uint64_t>& bytes) {
  return bytes.empty() ? 0 : *std::max_element(bytes.begin(), bytes.end());
}

int64_t outputs_of(const LinearModule& module) {
  return std::accumulate(module.rows.begin(), module.rows.end(), int64_t{0});
}

int64_t inputs_of(const LinearModule& module) {
  return module.padded_k > 0 ? module.padded_k : module.k;
}

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

std::vector<std::string> ModuleVisitor::full_names(const LinearModule& module) const {
  std::vector<std::string> names;
  for (const std::string& name : module.names) names.push_back(prefix_ + name);
  return names;
}

LinearKind ModuleVisitor::kind_of(const LinearModule& module,
                                  const LayerSelection& selection) const {
  return selection.kind_of(full_names(module), module.quantized);
}

// ---- DeclareModules

Status DeclareModules::linear(const LinearModule& module, LinearWeights&) {
  for (size_t i = 0; i < module.names.size(); ++i) {
    shapes_.emplace_back(prefix_ + module.names[i] + ".weight", Shape{module.rows[i], module.k});
    if (module.bias)
      shapes_.emplace_back(prefix_ + module.names[i] + ".bias", Shape{module.rows[i]});
  }
  return {};
}

Status DeclareModules::vector(const std::string& name, const Shape& shape, AlignedBuffer&) {
  return table(name, shape);
}

Status DeclareModules::host_vector(const std::string& name, const Shape& shape,
                                   std::vector<float>&) {
  return table(name, shape);
}

Status DeclareModules::table(const std::string& name, const Shape& shape) {
  shapes_.emplace_back(prefix_ + name, shape);
  return {};
}

// ---- CountModules

uint64_t ModelWeights::all_layers() const { return sum_of(layer_bytes); }
uint64_t ModelWeights::largest_layer() const { return largest_of(layer_bytes); }
uint64_t ModelWeights::largest_once() const { return largest_of(once_bytes); }

void CountModules::begin_layer(int64_t index, std::string prefix) {
  ModuleVisitor::begin_layer(index, std::move(prefix));
  weights_.layer_bytes.resize(static_cast<size_t>(index) + 1);
}

Status CountModules::linear(const LinearModule& module, LinearWeights& weights) {
  const LinearSizes sizes{.kind = kind_of(module, selection_),
                          .epilogue = module.epilogue,
                          .n = outputs_of(module),
                          .k = inputs_of(module)};
  set_sizes(DeviceKind::kGpu, sizes, weights);
  const LinearSizes padded{.kind = sizes.kind, .n = weights.n, .k = weights.k};
  weights_.fixed_bytes += scale_bytes(padded);
  if (module.bias)
    weights_.fixed_bytes += device_bytes(static_cast<uint64_t>(weights.n) * sizeof(float));
  const uint64_t bytes = packed_bytes(padded);
  const auto layer = static_cast<size_t>(layer_);
  switch (module.residence) {
    case Residence::kFixed:
      weights_.fixed_bytes += bytes;
      break;
    case Residence::kLayer:
      weights_.layer_bytes[layer] += bytes;
      for (const int64_t rows : module.rows)
        weights_.staging_bytes = std::max(weights_.staging_bytes,
                                          kStagingBytes * static_cast<uint64_t>(rows * module.k));
      break;
    case Residence::kOnce:
      weights_.once_bytes.resize(layer + 1);
      weights_.once_bytes[layer] += bytes;
      break;
  }
  return {};
}

Status CountModules::vector(const std::string&, const Shape& shape, AlignedBuffer&) {
  weights_.fixed_bytes += device_bytes(static_cast<uint64_t>(shape.count()) * sizeof(float));
  return {};
}

// ---- ListModules

Status ListModules::linear(const LinearModule& module, LinearWeights& weights) {
  if (module.quantized)
    for (std::string& name : full_names(module)) quantized_.push_back(std::move(name));
  // Padded as int8 products want it.
  set_sizes(DeviceKind::kGpu,
            {.kind = LinearKind::kS8,
             .epilogue = module.epilogue,
             .n = outputs_of(module),
             .k = inputs_of(module)},
            weights);
  if (*module.label == '\0') return {};
  for (ListedLinear& known : linears_) {
    if (known.name != module.label || known.rows != module.tokens) continue;
    ++known.count;
    return {};
  }
  linears_.push_back({.name = module.label,
                      .n = weights.n,
                      .k = weights.k,
                      .epilogue = module.epilogue,
                      .rows = module.tokens});
  return {};
}

// ---- DescribeModules

Status DescribeModules::linear(const LinearModule& module, LinearWeights& weights) {
  INTAGLIO_ASSIGN(weights, describe_linear(context_, {.kind = kind_of(module, selection_),
                                                      .epilogue = module.epilogue,
                                                      .n = outputs_of(module),
                                                      .k = inputs_of(module)}));
  return {};
}

// ---- PrepareModules

namespace {

// The first part with zeros behind each row.
Status pad_columns(int64_t padded_k, Tensor& part) {
  const int64_t rows = part.view.shape[0], k = part.view.shape[1];
  if (padded_k == 0 || padded_k == k) return {};
  Tensor padded;
  INTAGLIO_ASSIGN(padded.memory,
                  AlignedBuffer::allocate(static_cast<size_t>(rows * padded_k) * sizeof(float)));
  auto* const values = padded.memory.as<float>();
  std::fill_n(values, rows * padded_k, 0.0f);
  const auto* bytes = static_cast<const std::byte*>(part.view.data);
  for (int64_t r = 0; r < rows; ++r) {
    convert_to_f32(bytes + static_cast<size_t>(r * k) * dtype_size(part.view.dtype),
                   part.view.dtype, values + r * padded_k, static_cast<size_t>(k));
  }
  padded.view = {values, DType::kF32, Shape{rows, padded_k}};
  part = std::move(padded);
  return {};
}

}  // namespace

Expected<LinearWeights> PrepareModules::prepare(const LinearModule& module) {
  std::vector<Tensor> parts, biases;
  for (size_t i = 0; i < module.names.size(); ++i) {
    const std::string name = prefix_ + module.names[i];
    INTAGLIO_ASSIGN(Tensor w, source_.tensor(name + ".weight", Shape{module.rows[i], module.k}));
    INTAGLIO_TRY(pad_columns(module.padded_k, w));
    parts.push_back(std::move(w));
    if (!module.bias) continue;
    INTAGLIO_ASSIGN(Tensor b, source_.tensor(name + ".bias", Shape{module.rows[i]}));
    biases.push_back(std::move(b));
  }
  INTAGLIO_ASSIGN(LinearWeights weights,
                  make_linear(context_, kind_of(module, selection_), module.epilogue,
                              views_of(parts), views_of(biases), module.added_bias));
  own(weights, parts.front());  // only a single one is used as it lies
  return weights;
}

Status PrepareModules::linear(const LinearModule& module, LinearWeights& weights) {
  INTAGLIO_TRY(check_cancelled(context_));
  INTAGLIO_ASSIGN(weights, prepare(module));
  return prepared_ ? prepared_(module.residence, layer_, weights) : Status{};
}

Status PrepareModules::vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) {
  std::vector<float> values;
  INTAGLIO_TRY(host_vector(name, shape, values));
  INTAGLIO_ASSIGN(vector, upload(context_, values));
  return {};
}

Status PrepareModules::host_vector(const std::string& name, const Shape& shape,
                                   std::vector<float>& values) {
  INTAGLIO_ASSIGN(const Tensor tensor, source_.tensor(prefix_ + name, shape));
  values.resize(static_cast<size_t>(shape.count()));
  convert_to_f32(tensor.view.data, tensor.view.dtype, values.data(), values.size());
  return {};
}

}  // namespace intaglio
