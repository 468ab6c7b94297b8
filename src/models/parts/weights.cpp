#include "models/parts/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>

#include "core/memory.h"
#include "core/philox.h"
#include "io/formats/fp8_rows.h"
#include "io/formats/ggml_blocks.h"
#include "io/printable.h"

namespace intaglio {

namespace {

// "layers.0.attention.to_q.weight": module and leaf.
struct ModuleName {
  std::string_view module, leaf;
};

ModuleName split_leaf(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {name, {}};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

std::string joined(std::string_view module, std::string_view leaf) {
  return leaf.empty() ? std::string(module) : fmt::format("{}.{}", module, leaf);
}

// What `module` is called under the alias; nullopt: the alias is not of this module.
std::optional<std::string> stored_as(std::string_view module, const ModuleAlias& alias) {
  return with_other_end(module, alias.module, alias.stored);
}

// The leaf of the stored tensor that is "<module>.<leaf>" under the alias.
std::string_view stored_leaf(const ModuleAlias& alias, std::string_view leaf) {
  return leaf == "weight" && !alias.leaf.empty() ? alias.leaf : leaf;
}

Shape without_leading_ones(const Shape& shape) {
  Shape result;
  for (int i = 0; i < shape.rank; ++i)
    if (result.rank > 0 || shape[i] != 1)
      result.dims[static_cast<size_t>(result.rank++)] = shape[i];
  return result;
}

// A linear that is stored as a convolution of one pixel.
Shape without_trailing_ones(Shape shape) {
  while (shape.rank > 2 && shape[shape.rank - 1] == 1)
    shape.dims[static_cast<size_t>(--shape.rank)] = 0;
  return shape;
}

Shape all_parts(Shape shape, int parts) {
  if (shape.rank > 0) shape.dims[0] *= parts;
  return shape;
}

}  // namespace

bool ends_with_components(std::string_view name, std::string_view end) {
  if (!name.ends_with(end)) return false;
  return name.size() == end.size() || name[name.size() - end.size() - 1] == '.';
}

std::optional<std::string> with_other_end(std::string_view name, std::string_view end,
                                          std::string_view other) {
  const size_t star = end.find('*');
  if (star == std::string_view::npos) {
    if (!ends_with_components(name, end)) return std::nullopt;
    name.remove_suffix(end.size());
    return fmt::format("{}{}", name, other);
  }
  const std::string_view head = end.substr(0, star), tail = end.substr(star + 1);
  if (!name.ends_with(tail)) return std::nullopt;
  name.remove_suffix(tail.size());
  const size_t dot = name.rfind('.');
  const std::string_view number = name.substr(dot == std::string_view::npos ? 0 : dot + 1);
  name.remove_suffix(number.size());
  if (!ends_with_components(name, head)) return std::nullopt;
  name.remove_suffix(head.size());
  const size_t place = other.find('*');
  return fmt::format("{}{}{}{}", name, other.substr(0, place), number, other.substr(place + 1));
}

std::vector<std::string> stored_names(std::string_view name, std::span<const ModuleAlias> aliases) {
  const auto [module, leaf] = split_leaf(name);
  static const std::vector<std::string_view> parts = linear_parts();
  std::vector<std::string> names;
  for (const ModuleAlias& alias : aliases) {
    if (std::optional<std::string> lone = stored_as(name, alias)) names.push_back(std::move(*lone));
  }
  const auto add = [&](std::string_view stored, std::string_view end) {
    names.push_back(joined(stored, end));
    if (end != "weight") return;
    for (const std::string_view part : parts) names.push_back(joined(stored, part));
  };
  add(module, leaf);
  for (const ModuleAlias& alias : aliases) {
    if (const std::optional<std::string> stored = stored_as(module, alias))
      add(*stored, stored_leaf(alias, leaf));
  }
  return names;
}

Expected<std::shared_ptr<CheckpointSource>> CheckpointSource::open(
    std::shared_ptr<const Checkpoint> checkpoint, std::span<const ModuleAlias> aliases) {
  INTAGLIO_ASSIGN(std::shared_ptr<const StoredWeights> stored, StoredWeights::open(checkpoint));
  return std::shared_ptr<CheckpointSource>(
      new CheckpointSource(std::move(checkpoint), std::move(stored), aliases));
}

bool CheckpointSource::is_quantized() const { return stored_->is_quantized(); }

CheckpointSource::Place CheckpointSource::place(std::string_view module,
                                                std::string_view leaf) const {
  const TensorSet& tensors = stored_->tensors();
  // A quantized weight may lie under another name than its own.
  const auto is_here = [&](std::string_view stored, std::string_view end) {
    return tensors.find(joined(stored, end)) != nullptr ||
           (end == "weight" && stored_->find_linear(stored) != nullptr);
  };
  const std::string own = joined(module, leaf);
  Place missing{own, std::string(module)};
  if (is_here(module, leaf)) return missing;
  for (const ModuleAlias& alias : aliases_) {
    const std::optional<std::string> stored = stored_as(module, alias);
    if (stored) {
      const std::string_view end = stored_leaf(alias, leaf);
      Place found{joined(*stored, end), *stored, alias.part, alias.parts};
      if (is_here(*stored, end)) return found;
      if (alias.published) missing = std::move(found);
    }
    std::optional<std::string> lone = stored_as(own, alias);
    if (lone && tensors.find(*lone) != nullptr)
      return {*lone, std::string(split_leaf(*lone).module), alias.part, alias.parts, alias.flat};
  }
  return missing;
}

const LinearEntry* CheckpointSource::linear_at(const Place& place) const {
  return place.name == place.module + ".weight" ? stored_->find_linear(place.module) : nullptr;
}

std::string CheckpointSource::problem(const std::string& name, const Shape& shape) const {
  const auto [module, leaf] = split_leaf(name);
  const Place where = place(module, leaf);
  const LinearEntry* const linear = linear_at(where);
  const TensorEntry* const entry =
      linear != nullptr ? linear->values : stored_->tensors().find(where.name);
  const Shape expected = all_parts(shape, where.parts);
  if (entry == nullptr)
    return fmt::format("{}: missing, expected {}", printable(where.name), to_string(expected));
  if (linear != nullptr && linear->holds(expected)) return {};
  const Shape found = linear != nullptr ? Shape{linear->n, linear->k} : entry->shape();
  // GGUF's writers leave out outermost sizes of 1.
  const bool fits = found == expected || (where.flat && found == Shape{expected.count()}) ||
                    without_trailing_ones(found) == without_trailing_ones(expected) ||
                    (stored_->tensors().is_gguf() &&
                     without_leading_ones(found) == without_leading_ones(expected));
  if (linear == nullptr && fits && is_read_as_floats(*entry)) return {};
  const std::string file = checkpoint_->files().size() > 1
                               ? fmt::format(" in {}", printable(checkpoint_->file_of(*entry)))
                               : "";
  if (linear != nullptr && linear->decoder != nullptr && entry->shape() != found) {
    return fmt::format("{}: found {}{}, a weight {}, expected {}", printable(entry->name),
                       type_and_shape(*entry), file, to_string(found), to_string(expected));
  }
  const bool is_quantized = linear != nullptr && linear->is_quantized();
  const std::string_view types = !is_quantized   ? "F32, F16 or BF16"
                                 : entry->blocks ? std::string_view(entry->blocks->type->name)
                                                 : dtype_name(entry->view.dtype);
  return fmt::format("{}: found {}{}, expected {} {}", printable(where.name),
                     type_and_shape(*entry), file, types, to_string(expected));
}

Status CheckpointSource::check(const TensorShapes& shapes) {
  std::vector<std::string> problems;
  for (const auto& [name, shape] : shapes) {
    std::string found = problem(name, shape);
    // Parts of one tensor have one problem.
    if (!found.empty() && (problems.empty() || problems.back() != found))
      problems.push_back(std::move(found));
  }
  if (problems.empty()) return {};
  return make_error(ErrorCode::kShapeMismatch, "{}: {} tensor{} not as the model needs:\n  {}",
                    checkpoint_->path().string(), problems.size(), problems.size() == 1 ? "" : "s",
                    fmt::join(problems, "\n  "));
}

// The rows of the place, in memory of their own where they are not mapped.
Expected<Tensor> CheckpointSource::part_of(const Place& place) const {
  INTAGLIO_ASSIGN(Tensor tensor, stored_->tensor(place.name));
  if (place.parts == 1) return tensor;
  const int64_t rows = tensor.view.shape[0] / place.parts;
  const size_t bytes = tensor.view.size_bytes() / static_cast<size_t>(place.parts);
  tensor.view.shape.dims[0] = rows;
  tensor.view.data = tensor.view.as<std::byte>() + static_cast<size_t>(place.part) * bytes;
  return tensor;
}

Expected<Tensor> CheckpointSource::tensor(const std::string& name, const Shape& shape) {
  const std::string found = problem(name, shape);
  if (!found.empty())
    return make_error(ErrorCode::kShapeMismatch, "{}: {}", checkpoint_->path().string(), found);
  const auto [module, leaf] = split_leaf(name);
  return part_of(place(module, leaf)).map([&](Tensor&& tensor) {
    tensor.view.shape = shape;
    return std::move(tensor);
  });
}

Expected<LoadedLinear> CheckpointSource::linear(const Context& context, const std::string& name,
                                                const Shape& shape) {
  const std::string found = problem(name + ".weight", shape);
  if (!found.empty())
    return make_error(ErrorCode::kShapeMismatch, "{}: {}", checkpoint_->path().string(), found);
  const Place where = place(name, "weight");
  const LinearPart part{where.part * shape[0], shape[0], shape[1]};
  if (const LinearEntry* const entry = stored_->find_linear(where.module)) {
    INTAGLIO_ASSIGN(std::optional<LoadedLinear> rows, read_e4m3_rows(*entry, context, part));
    if (rows) return std::move(*rows);
  }
  return stored_->linear(where.module, &context, part);
}

Expected<LoadedLinear> CheckpointSource::deferred_linear(const Context& context,
                                                         const std::string& name,
                                                         const Shape& shape) {
  const Place where = place(name, "weight");
  const LinearEntry* const entry = stored_->find_linear(where.module);
  if (entry != nullptr && problem(name + ".weight", shape).empty()) {
    const LinearPart part{where.part * shape[0], shape[0], shape[1]};
    INTAGLIO_ASSIGN(std::optional<LoadedLinear> rows,
                    defer_e4m3_rows(stored_->tensors().path(), *entry, part));
    if (rows) return std::move(*rows);
  }
  return linear(context, name, shape);
}

StoredForm CheckpointSource::form(const std::string& name, int64_t) const {
  const LinearEntry* const entry = stored_->find_linear(place(name, "weight").module);
  return entry == nullptr ? StoredForm{} : entry->form();
}

Status CheckpointSource::rows(const std::string& name, const Shape& shape,
                              std::span<const int64_t> which, float* out) {
  const std::string found = problem(name, shape);
  if (!found.empty())
    return make_error(ErrorCode::kShapeMismatch, "{}: {}", checkpoint_->path().string(), found);
  const auto [module, leaf] = split_leaf(name);
  const Place where = place(module, leaf);
  if (linear_at(where) == nullptr) {
    return make_error(ErrorCode::kShapeMismatch, "{}: {}: no matrix", checkpoint_->path().string(),
                      printable(name));
  }
  return stored_->rows(where.module, shape[1], which, out);
}

Status CheckpointSource::refuse_layers_beyond(std::string_view prefix, int64_t count,
                                              std::string_view key) const {
  for (const auto& [name, entry] : stored_->tensors().tensors()) {
    if (!name.starts_with(prefix)) continue;
    const char* const end = name.data() + name.size();
    int64_t layer = -1;
    const auto [rest, error] = std::from_chars(name.data() + prefix.size(), end, layer);
    if (error != std::errc() || rest == end || *rest != '.' || layer < count) continue;
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: holds {}, beyond the {} of the config ({}); the config is not that of "
                      "these weights",
                      checkpoint_->path().string(), printable(entry->name), count, key);
  }
  return {};
}

namespace {

// One run of noise repeated with a stride coprime to every row length, hence the primes: cheap to
// fill, and no two rows are equal. Small tensors have a short run, which holds the largest often.
int64_t noise_of(int64_t most) {
  constexpr int64_t kRuns[] = {16381, 65521, 262139, 1048573};
  for (const int64_t run : kRuns)
    if (run >= 8 * most) return run;
  return std::end(kRuns)[-1];
}

// Codes of int8 rows of noise: so many to a deviation.
constexpr float kCodes = 32.0f;

// The first `run` elements of `buffer` over and over, up to `count`.
template <typename T>
Status repeat(AlignedBuffer& buffer, int64_t run, int64_t count, const std::atomic<bool>* cancel) {
  T* const out = buffer.as<T>();
  for (int64_t i = run; i < count; i += run) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      buffer = AlignedBuffer();
      return make_error(ErrorCode::kCancelled, "stopped on request");
    }
    std::memcpy(out + i, out, static_cast<size_t>(std::min(run, count - i)) * sizeof(T));
  }
  return {};
}

// Where the window of a tensor begins, in elements of the run: a multiple of 64 bytes of any type.
int64_t window_of(const std::string& name, int64_t run) {
  constexpr int64_t kStep = 64;
  return static_cast<int64_t>(std::hash<std::string>{}(name) % static_cast<uint64_t>(run / kStep)) *
         kStep;
}

float deviation_of(int64_t columns) { return 1.0f / std::sqrt(static_cast<float>(columns)); }

}  // namespace

Status SyntheticSource::check(const TensorShapes& shapes) {
  for (const auto& [name, shape] : shapes) {
    Block& block = (*blocks_)[key_of(shape)];
    block.most = std::max(block.most, shape.count());
  }
  return {};
}

Expected<SyntheticSource::Block*> SyntheticSource::block_of(const std::string& name,
                                                            const Shape& shape) const {
  const auto found = blocks_->find(key_of(shape));
  if (found == blocks_->end() || found->second.most < shape.count())
    return make_error(ErrorCode::kInvalidArgument, "synthetic tensor {} was not announced", name);
  return &found->second;
}

std::vector<float> SyntheticSource::noise(int64_t columns) const {
  const int64_t run = noise_of(blocks_->at(columns).most);
  std::vector<float> values(static_cast<size_t>(run));
  fill_normal(seed_ ^ static_cast<uint64_t>(columns), values.data(), run);
  return values;
}

Expected<Tensor> SyntheticSource::tensor(const std::string& name, const Shape& shape) {
  INTAGLIO_ASSIGN(Block* const block, block_of(name, shape));
  const int64_t run = noise_of(block->most);
  if (block->values.size() == 0) {
    const int64_t columns = key_of(shape);
    const float deviation = columns > 0 ? deviation_of(columns) : 0.1f;
    const float mean = columns > 0 ? 0.0f : 1.0f;
    const int64_t count = block->most + run;
    INTAGLIO_ASSIGN(block->values,
                    AlignedBuffer::allocate(static_cast<size_t>(count) * sizeof(BFloat16)));
    BFloat16* out = block->values.as<BFloat16>();
    for (const float value : noise(columns)) *out++ = BFloat16(mean + deviation * value);
    INTAGLIO_TRY(repeat<BFloat16>(block->values, run, count, cancel_));
  }
  return Tensor{{block->values.as<BFloat16>() + window_of(name, run), DType::kBF16, shape}, {}};
}

StoredForm SyntheticSource::form(const std::string&, int64_t k) const {
  if (rotation_.kind == RotationKind::kNone || rotation_refusal(k, rotation_) != nullptr) return {};
  return {.encoding = Encoding::kInt8Rows, .rotation = rotation_};
}

Expected<LoadedLinear> SyntheticSource::linear(const Context&, const std::string& name,
                                               const Shape& shape) {
  const int64_t k = shape[1];
  const StoredForm stored = form(name, k);
  LoadedLinear loaded;
  if (stored.encoding == Encoding::kFloat) {
    INTAGLIO_ASSIGN(const Tensor weight, tensor(name + ".weight", shape));
    loaded.linear.values = weight.view;
    return loaded;
  }
  INTAGLIO_ASSIGN(Block* const block, block_of(name, shape));
  const int64_t run = noise_of(block->most);
  if (block->codes.size() == 0) {
    const int64_t count = block->most + run;
    INTAGLIO_ASSIGN(block->codes, AlignedBuffer::allocate(static_cast<size_t>(count)));
    auto* out = block->codes.as<int8_t>();
    for (const float value : noise(k))
      *out++ = static_cast<int8_t>(std::lround(std::clamp(value * kCodes, -127.0f, 127.0f)));
    INTAGLIO_TRY(repeat<int8_t>(block->codes, run, count, cancel_));
  }
  const auto rows = static_cast<size_t>(shape[0]);
  INTAGLIO_ASSIGN(loaded.scales, AlignedBuffer::allocate(rows * sizeof(float)));
  std::fill_n(loaded.scales.as<float>(), rows, deviation_of(k) / kCodes);
  loaded.linear = {.encoding = stored.encoding,
                   .values = {block->codes.as<int8_t>() + window_of(name, run), DType::kI8, shape},
                   .scales = {loaded.scales.data(), DType::kF32, Shape{shape[0]}},
                   .rotation = stored.rotation};
  return loaded;
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
