#include "models/parts/modules.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/memory.h"
#include "models/parts/side_dtype.h"
#include "models/parts/weight_streaming.h"

namespace intaglio {
namespace {

// A value of the largest tensor on its way in: as it lies in the file, at most F32, and its int8
// form.
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

// Weights that are used as they lie take over the memory they were read into.
void own(LinearWeights& weights, LoadedLinear& part) {
  if (weights.borrowed == nullptr || weights.borrowed != part.values.data()) return;
  weights.borrowed = nullptr;
  weights.packed = std::move(part.values);
}

// The kind that a linear of `kind` runs in, as its file has it: floats where it asks for a float
// product, or where its publisher quantized others and left it out.
LinearKind kind_of_stored(LinearKind kind, std::span<const StoredForm> parts,
                          bool others_are_quantized) {
  if (kind != LinearKind::kS8 && kind != LinearKind::kS8Dequant) return kind;
  const bool asked = std::any_of(parts.begin(), parts.end(),
                                 [](const StoredForm& part) { return part.float_product; });
  const bool left_out =
      others_are_quantized && std::all_of(parts.begin(), parts.end(), [](const StoredForm& part) {
        return part.encoding == Encoding::kFloat && !part.decoded;
      });
  return asked || left_out ? LinearKind::kBF16 : kind;
}

// Of a GPU's memory, by a side branch: it stays there whether or not its layer streams.
uint64_t side_bytes(const LinearWeights& weights, const Adapters& adapters,
                    const AdaptedLinear& linear, DType dtype) {
  const int64_t ranks = adapters.side_ranks(linear);
  if (ranks == 0) return 0;
  const auto row = static_cast<uint64_t>(side_branch_rank(ranks)) * dtype_size(dtype);
  const auto n = static_cast<uint64_t>(weights.n), k = static_cast<uint64_t>(weights.k);
  return device_bytes(row * k) + device_bytes(row * n) +
         (adapters.side_has_bias(linear) ? device_bytes(n * sizeof(float)) : 0);
}

}  // namespace

std::vector<std::string> ModuleVisitor::full_names(const LinearModule& module) const {
  std::vector<std::string> names;
  for (const std::string& name : module.names) names.push_back(prefix_ + name);
  return names;
}

LinearDesc ModuleVisitor::describe(const LinearModule& module, const LayerSelection& selection,
                                   const TensorSource* source, const Adapters& adapters) const {
  const std::vector<std::string> names = full_names(module);
  // Of a GPU's products the one without a bias takes the more scratch: plans count that, which is
  // also what the other phases of a picture have been measured beside.
  LinearDesc desc{.kind = selection.kind_of(names, module.quantized),
                  .epilogue = module.epilogue,
                  .n = outputs_of(module),
                  .k = inputs_of(module)};
  if (source == nullptr) return desc;
  std::vector<StoredForm> forms;
  for (const std::string& name : names)
    forms.push_back(adapters.form(name, source->form(name, module.k)));
  desc.kind = kind_of_stored(desc.kind, forms, source->is_quantized());
  desc.as_stored = runs_as_stored(desc.kind, forms);
  if (!desc.as_stored) return desc;
  desc.rotation = forms.front().rotation;
  desc.smooth = forms.front().smooth;
  return desc;
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
  const LinearDesc desc = describe(module, selection_, source_, adapters_);
  set_sizes(DeviceKind::kGpu, desc, weights);
  const LinearDesc padded{.kind = desc.kind, .n = weights.n, .k = weights.k};
  weights_.fixed_bytes += scale_bytes(padded);
  if (desc.smooth)
    weights_.fixed_bytes += device_bytes(static_cast<uint64_t>(weights.k) * sizeof(float));
  if (module.bias)
    weights_.fixed_bytes += device_bytes(static_cast<uint64_t>(weights.n) * sizeof(float));
  const std::vector<std::string> names = full_names(module);
  weights_.fixed_bytes +=
      side_bytes(weights, adapters_, {names, module.rows}, selection_.activation_dtype());
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
  const BlockWork of_block = is_gated(module.epilogue)
                                 ? BlockWork{.hidden = weights.out_cols(), .attends = module.tokens}
                                 : BlockWork{};
  linears_.push_back(
      {.name = module.label,
       .n = weights.n,
       .k = weights.k,
       .epilogue = module.epilogue,
       .rows = module.tokens,
       .work = module.work.value_or(of_block),
       // Text that no layer of a pass goes on with.
       .once = module.tokens == LinearRows::kText && module.residence != Residence::kLayer});
  return {};
}

// ---- NameModules

Status NameModules::linear(const LinearModule& module, LinearWeights& weights) {
  if (!module.quantized) return {};
  NamedLinear named{.names = full_names(module),
                    .rows = module.rows,
                    .k = module.k,
                    .input_scale = module.input_scale,
                    .weights = &weights};
  if (named.input_scale.of != InputScale::Of::kNothing) named.input_scale.name.insert(0, prefix_);
  linears_.push_back(std::move(named));
  return {};
}

// ---- DescribeModules

Status DescribeModules::linear(const LinearModule& module, LinearWeights& weights) {
  INTAGLIO_ASSIGN(weights, plan_linear(context_, describe(module, selection_, source_, adapters_)));
  const std::vector<std::string> names = full_names(module);
  const AdaptedLinear linear{names, module.rows};
  const int64_t ranks = adapters_.side_ranks(linear);
  if (ranks == 0) return {};
  INTAGLIO_ASSIGN(weights.side,
                  plan_side_branch(context_, weights, ranks, adapters_.side_has_bias(linear),
                                   side_dtype(weights, selection_)));
  return {};
}

// ---- FindModules

Status FindModules::linear(const LinearModule& module, LinearWeights&) {
  const std::vector<std::string> names = full_names(module);
  for (size_t i = 0; i < names.size(); ++i)
    INTAGLIO_TRY(match_.linear(names[i], Shape{module.rows[i], module.k}, module.bias));
  return {};
}

Status FindModules::vector(const std::string& name, const Shape& shape, AlignedBuffer&) {
  return match_.vector(prefix_ + name, shape);
}

Status FindModules::host_vector(const std::string& name, const Shape& shape,
                                std::vector<float>& values) {
  values.assign(static_cast<size_t>(shape.count()), 0.0f);
  return match_.vector(prefix_ + name, shape);
}

// ---- CompareMerged

Status CompareMerged::linear(const LinearModule& module, LinearWeights&) {
  for (const std::string& name : full_names(module)) compare(name);
  return {};
}

Status CompareMerged::vector(const std::string& name, const Shape&, AlignedBuffer&) {
  constexpr std::string_view kWeight = ".weight";
  const std::string full = prefix_ + name;
  compare(std::string_view(full).substr(
      0, full.size() - (full.ends_with(kWeight) ? kWeight.size() : 0)));
  return {};
}

Status CompareMerged::host_vector(const std::string& name, const Shape& shape,
                                  std::vector<float>& values) {
  AlignedBuffer none;
  INTAGLIO_TRY(ModuleVisitor::host_vector(name, shape, values));
  return vector(name, shape, none);
}

// ---- MakeBranches

Status MakeBranches::linear(const LinearModule& module, LinearWeights& weights) {
  INTAGLIO_TRY(check_cancelled(context_));
  if (weights.side != nullptr) freed_ += weights.side->size_bytes();
  weights.side.reset();
  if (drop_) return {};
  INTAGLIO_ASSIGN(weights.side,
                  adapters_.side_branch(context_, weights, {full_names(module), module.rows},
                                        side_dtype(weights, selection_)));
  if (weights.side != nullptr) made_ += weights.side->size_bytes();
  return {};
}

// ---- PrepareModules

namespace {

// Zeros behind each row, up to `padded_k` columns; 0: as it is. A turned one's columns fill its
// groups, so they are whole already.
Status pad_columns(int64_t padded_k, LoadedLinear& part) {
  StoredLinear& w = part.linear;
  const int64_t rows = w.n(), k = w.k();
  if (padded_k == 0 || padded_k == k) return {};
  const DType dtype = w.encoding == Encoding::kFloat ? DType::kF32 : w.values.dtype;
  const auto row_bytes = static_cast<size_t>(padded_k) * dtype_size(dtype);
  INTAGLIO_ASSIGN(AlignedBuffer padded,
                  AlignedBuffer::allocate(static_cast<size_t>(rows) * row_bytes));
  std::memset(padded.data(), 0, padded.size());
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* const row = padded.as<std::byte>() + static_cast<size_t>(r) * row_bytes;
    if (w.encoding == Encoding::kFloat) {
      dequantize_row(w, r, reinterpret_cast<float*>(row));
    } else {
      std::memcpy(row, w.values.as<std::byte>() + r * k, static_cast<size_t>(k));
    }
  }
  w.values = {padded.data(), dtype, Shape{rows, padded_k}};
  if (w.encoding == Encoding::kFloat) w.scales = {};
  part.values = std::move(padded);
  if (w.smooth.data == nullptr) return {};
  const auto columns = static_cast<size_t>(padded_k);
  INTAGLIO_ASSIGN(AlignedBuffer smooth, AlignedBuffer::allocate(columns * sizeof(float)));
  std::fill_n(smooth.as<float>(), columns, 1.0f);
  std::memcpy(smooth.data(), w.smooth.data, w.smooth.size_bytes());
  w.smooth = {smooth.data(), DType::kF32, Shape{padded_k}};
  part.smooth = std::move(smooth);
  return {};
}

}  // namespace

Expected<LinearWeights> PrepareModules::prepare(const LinearModule& module) {
  const LinearDesc desc = describe(module, selection_, &source_, adapters_);
  const bool is_int8 = desc.kind == LinearKind::kS8 || desc.kind == LinearKind::kS8Dequant;
  // What is quantized row by row need not lie in memory first.
  const bool defers = is_int8 && !desc.as_stored && inputs_of(module) == module.k;
  std::vector<LoadedLinear> parts;
  std::vector<Tensor> biases;
  LinearSource source{.parts = {}, .added_bias = module.added_bias};
  for (size_t i = 0; i < module.names.size(); ++i) {
    const std::string name = prefix_ + module.names[i];
    const Shape shape{module.rows[i], module.k};
    INTAGLIO_ASSIGN(LoadedLinear w, defers && !adapters_.merges(name)
                                        ? source_.deferred_linear(context_, name, shape)
                                        : source_.linear(context_, name, shape));
    INTAGLIO_TRY(adapters_.merge(context_, name, w));
    INTAGLIO_TRY(pad_columns(module.padded_k, w));
    source.parts.push_back(w.linear);
    parts.push_back(std::move(w));
    if (!module.bias) continue;
    INTAGLIO_ASSIGN(Tensor b, source_.tensor(name + ".bias", Shape{module.rows[i]}));
    INTAGLIO_TRY(adapters_.add_to(name + ".bias", b));
    source.biases.push_back(b.view);
    biases.push_back(std::move(b));
  }
  INTAGLIO_ASSIGN(LinearWeights weights, make_linear(context_, desc.kind, module.epilogue, source));
  own(weights, parts.front());  // only a single one is used as it lies
  if (adapters_.empty()) return weights;
  INTAGLIO_ASSIGN(weights.side,
                  adapters_.side_branch(context_, weights, {full_names(module), module.rows},
                                        side_dtype(weights, selection_)));
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

Status PrepareModules::raised_vector(const std::string& name, const Shape& shape,
                                     AlignedBuffer& raised) {
  std::vector<float> values;
  INTAGLIO_TRY(host_vector(name, shape, values));
  for (float& value : values) value += 1.0f;
  INTAGLIO_ASSIGN(raised, upload(context_, values));
  return {};
}

Status PrepareModules::host_vector(const std::string& name, const Shape& shape,
                                   std::vector<float>& values) {
  INTAGLIO_ASSIGN(Tensor tensor, source_.tensor(prefix_ + name, shape));
  INTAGLIO_TRY(adapters_.add_to(prefix_ + name, tensor));
  values.resize(static_cast<size_t>(shape.count()));
  convert_to_f32(tensor.view.data, tensor.view.dtype, values.data(), values.size());
  return {};
}

}  // namespace intaglio
