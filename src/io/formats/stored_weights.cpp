#include "io/formats/stored_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "core/log.h"
#include "core/parallel_tasks.h"
#include "io/printable.h"

namespace intaglio {
namespace {

const CheckpointFormat& choose_format(const TensorSet& tensors) {
  static const bool traced = trace_enabled("dispatch");
  std::string refusals;
  for (const CheckpointFormat& format : checkpoint_formats()) {
    const Refusal refusal = format.refuse(tensors);
    if (refusal == nullptr) {
      if (traced) {
        trace_decision(fmt::format("dispatch checkpoint {}: {}{}", printable(tensors.path()),
                                   format.name, refusals));
      }
      return format;
    }
    refusals += fmt::format("; {} refused: {}", format.name, refusal);
  }
  return checkpoint_formats().back();
}

// The scales as n floats of their own.
Expected<AlignedBuffer> read_scales(const TensorSet& tensors, const LinearEntry& entry) {
  INTAGLIO_ASSIGN(const std::vector<float> found, read_floats(*entry.scales));
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] >= 0.0f && found[i] <= std::numeric_limits<float>::max()) continue;
    return make_error(ErrorCode::kBadFormat,
                      "{}: {}: scale {} is {}, expected a finite number, not negative",
                      tensors.path(), printable(entry.scales->name), i, found[i]);
  }
  const auto rows = static_cast<size_t>(entry.n());
  INTAGLIO_ASSIGN(AlignedBuffer scales, AlignedBuffer::allocate(rows * sizeof(float)));
  if (found.size() == rows) {
    std::copy(found.begin(), found.end(), scales.as<float>());
  } else {
    std::fill_n(scales.as<float>(), rows, found.front());
  }
  return scales;
}

// Whether no element has all bits of `exponent` set, which only Inf and NaN have.
template <typename Bits>
bool are_finite(const std::byte* bytes, int64_t count, Bits exponent) {
  bool found = false;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    __builtin_memcpy(&bits, bytes + static_cast<size_t>(i) * sizeof(Bits), sizeof(Bits));
    found |= (bits & exponent) == exponent;
  }
  return !found;
}

bool are_finite(const TensorView& view, int64_t first, int64_t count) {
  const std::byte* const bytes =
      view.as<std::byte>() + static_cast<size_t>(first) * dtype_size(view.dtype);
  if (view.dtype == DType::kF32) return are_finite<uint32_t>(bytes, count, 0x7f800000u);
  return are_finite<uint16_t>(bytes, count, view.dtype == DType::kBF16 ? 0x7f80 : 0x7c00);
}

// kBadFormat naming the tensor. Memory's speed takes all threads: weights have gigabytes.
Status refuse_not_finite(const TensorSet& tensors, const TensorEntry& entry, const TensorView& view,
                         const Context* context) {
  constexpr int64_t kPiece = 256 << 10;  // elements
  std::atomic<bool> finite{true};
  const int64_t count = view.shape.count();
  INTAGLIO_TRY(parallel_tasks(context == nullptr ? Context{.threads = 1} : *context, count, kPiece,
                              [&](int64_t begin, int64_t end, int) {
                                if (!are_finite(view, begin, end - begin)) finite = false;
                              }));
  if (finite) return {};
  return make_error(ErrorCode::kBadFormat, "{}: {}: holds an Inf or a NaN", tensors.path(),
                    printable(entry.name));
}

}  // namespace

Expected<std::shared_ptr<const StoredWeights>> StoredWeights::open(
    std::shared_ptr<const Checkpoint> checkpoint) {
  std::vector<const SafetensorsFile*> files;
  for (const auto& file : checkpoint->files()) files.push_back(file.get());
  INTAGLIO_ASSIGN(TensorSet tensors,
                  TensorSet::of(checkpoint->path().string(), checkpoint->tensors(), files));
  return read(std::move(checkpoint), std::move(tensors));
}

Expected<std::shared_ptr<const StoredWeights>> StoredWeights::open(
    std::shared_ptr<const SafetensorsFile> file) {
  std::vector<const TensorEntry*> entries;
  for (const TensorEntry& entry : file->tensors()) entries.push_back(&entry);
  const SafetensorsFile* const one = file.get();
  INTAGLIO_ASSIGN(TensorSet tensors, TensorSet::of(file->path().string(), entries, {&one, 1}));
  return read(std::move(file), std::move(tensors));
}

Expected<std::shared_ptr<const StoredWeights>> StoredWeights::read(std::shared_ptr<const void> keep,
                                                                   TensorSet tensors) {
  const CheckpointFormat& format = choose_format(tensors);
  INTAGLIO_ASSIGN(std::vector<LinearEntry> linears, format.linears(tensors));
  auto weights = std::make_shared<StoredWeights>();
  weights->keep_ = std::move(keep);
  weights->tensors_ = std::move(tensors);
  weights->format_ = format.name;
  for (LinearEntry& linear : linears) {
    std::string name = linear.name;
    weights->linears_.emplace(std::move(name), std::move(linear));
  }
  return weights;
}

const LinearEntry* StoredWeights::find_linear(std::string_view name) const {
  const auto found = linears_.find(name);
  return found == linears_.end() ? nullptr : &found->second;
}

bool StoredWeights::is_quantized() const {
  return std::any_of(linears_.begin(), linears_.end(),
                     [](const auto& item) { return item.second.encoding != Encoding::kFloat; });
}

Expected<LoadedLinear> StoredWeights::linear(std::string_view name, const Context* context) const {
  const LinearEntry* const entry = find_linear(name);
  if (entry == nullptr) {
    const TensorEntry* const other = tensors_.find(fmt::format("{}.weight", name));
    return make_error(ErrorCode::kNotFound, "{}: {}.weight: {}, expected a weight [n, k]",
                      tensors_.path(), printable(name),
                      other == nullptr ? "missing" : "found " + type_and_shape(*other));
  }
  LoadedLinear result;
  result.linear.encoding = entry->encoding;
  result.linear.rotation = entry->rotation;
  result.linear.float_product = entry->float_product;
  INTAGLIO_ASSIGN(Tensor values, read_tensor(*entry->values));
  result.linear.values = values.view;
  result.values = std::move(values.memory);
  if (entry->encoding == Encoding::kFloat) {
    INTAGLIO_TRY(refuse_not_finite(tensors_, *entry->values, result.linear.values, context));
    return result;
  }
  INTAGLIO_ASSIGN(result.scales, read_scales(tensors_, *entry));
  result.linear.scales = {result.scales.data(), DType::kF32, Shape{entry->n()}};
  return result;
}

Expected<Tensor> StoredWeights::tensor(std::string_view name) const {
  const TensorEntry* const entry = tensors_.find(name);
  if (entry == nullptr) {
    return make_error(ErrorCode::kNotFound, "{}: {}: missing", tensors_.path(), printable(name));
  }
  const std::string_view module = name.substr(0, std::min(name.rfind('.'), name.size()));
  const LinearEntry* const linear = find_linear(module);
  if (linear != nullptr && linear->encoding != Encoding::kFloat && entry == linear->values) {
    return make_error(ErrorCode::kUnsupported, "{}: {}: found {} with scales, expected floats",
                      tensors_.path(), printable(name), type_and_shape(*entry));
  }
  return read_tensor(*entry);
}

}  // namespace intaglio
