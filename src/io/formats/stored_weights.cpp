#include "io/formats/stored_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "core/finite.h"
#include "core/first_error.h"
#include "core/log.h"
#include "core/parallel_tasks.h"
#include "io/formats/fp8.h"
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
  INTAGLIO_ASSIGN(std::vector<float> found, read_floats(*entry.scales));
  for (size_t i = 0; i < found.size(); ++i) {
    found[i] /= entry.scale_divisor;
    if (found[i] >= 0.0f && found[i] <= std::numeric_limits<float>::max()) continue;
    return make_error(ErrorCode::kBadFormat,
                      "{}: {}: scale {} is {}, expected a finite number, not negative",
                      tensors.path(), printable(entry.scales->name), i, found[i]);
  }
  const auto rows = static_cast<size_t>(entry.n);
  INTAGLIO_ASSIGN(AlignedBuffer scales, AlignedBuffer::allocate(rows * sizeof(float)));
  if (found.size() == rows) {
    std::copy(found.begin(), found.end(), scales.as<float>());
  } else {
    std::fill_n(scales.as<float>(), rows, found.front());
  }
  return scales;
}

// What the columns of x are divided by, where the file has what they are multiplied by.
Expected<AlignedBuffer> read_smooth(const TensorSet& tensors, const TensorEntry& entry) {
  INTAGLIO_ASSIGN(const std::vector<float> found, read_floats(entry));
  INTAGLIO_ASSIGN(AlignedBuffer smooth, AlignedBuffer::allocate(found.size() * sizeof(float)));
  for (size_t i = 0; i < found.size(); ++i) {
    const float divisor = 1.0f / found[i];
    if (!std::isfinite(divisor) || divisor == 0.0f) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: element {} is {}, expected a number but 0",
                        tensors.path(), printable(entry.name), i, found[i]);
    }
    smooth.as<float>()[i] = divisor;
  }
  return smooth;
}

// Whether no magnitude has all bits of `exponent` set, which only Inf and NaN have: of signed
// integers, whose maxima processors take several at once.
template <typename Bits>
bool are_finite(const std::byte* bytes, int64_t count, Bits exponent) {
  Bits most = 0;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    __builtin_memcpy(&bits, bytes + static_cast<size_t>(i) * sizeof(Bits), sizeof(Bits));
    most = std::max(most, static_cast<Bits>(bits & std::numeric_limits<Bits>::max()));
  }
  return most < exponent;
}

bool are_finite(DType dtype, std::span<const std::byte> bytes) {
  const auto count = static_cast<int64_t>(bytes.size() / dtype_size(dtype));
  if (dtype == DType::kF32) return are_finite<int32_t>(bytes.data(), count, 0x7f800000);
  return are_finite<int16_t>(bytes.data(), count, dtype == DType::kBF16 ? 0x7f80 : 0x7c00);
}

// Calls decode(begin, end) for pieces of the rows of a part, by all threads.
// The first error of the lowest rows.
template <typename Decode>
Status decode_pieces(const LinearEntry& entry, const Context* context, const LinearPart& part,
                     Decode&& decode) {
  FirstError failed;
  const int64_t piece = entry.decoder != nullptr ? entry.decoder->piece_elements()
                                                 : entry.int8_decoder->piece_elements();
  const int64_t grain = std::max<int64_t>(1, piece / entry.k);
  INTAGLIO_TRY(parallel_tasks(context == nullptr ? Context{.threads = 1} : *context, part.count,
                              grain, [&](int64_t begin, int64_t end, int) {
                                failed.keep(begin, decode(part.first + begin, part.first + end));
                              }));
  return failed.status();
}

// Rows [begin, end) of W and their first `k` columns.
Status decode_floats(const TensorSet& tensors, const LinearEntry& entry, int64_t begin, int64_t end,
                     int64_t k, FiniteCheck check, float* out) {
  std::vector<float> padded;
  const float* from = out;
  if (k == entry.k) {
    INTAGLIO_TRY(entry.decoder->rows(begin, end, out));
  } else {
    padded.resize(static_cast<size_t>((end - begin) * entry.k));
    INTAGLIO_TRY(entry.decoder->rows(begin, end, padded.data()));
    from = padded.data();
  }
  for (int64_t row = begin; row < end; ++row, out += k, from += entry.k) {
    if (from != out) std::copy_n(from, k, out);
    if (check == FiniteCheck::kCaller) continue;
    if (all_finite(std::span<const float>(out, static_cast<size_t>(k)))) continue;
    return make_error(ErrorCode::kBadFormat, "{}: {}: row {} holds an Inf or a NaN", tensors.path(),
                      printable(entry.values->name), row);
  }
  return {};
}

// A part of W, in memory of its own.
Status decode(const TensorSet& tensors, const LinearEntry& entry, const Context* context,
              const LinearPart& part, FiniteCheck check, LoadedLinear& loaded) {
  const bool floats = entry.decoder != nullptr;
  const DType dtype = floats ? DType::kF32 : DType::kI8;
  INTAGLIO_ASSIGN(loaded.values, AlignedBuffer::allocate(static_cast<size_t>(part.count * part.k) *
                                                         dtype_size(dtype)));
  loaded.linear.values = {loaded.values.data(), dtype, Shape{part.count, part.k}};
  return decode_pieces(entry, context, part, [&](int64_t begin, int64_t end) -> Status {
    const int64_t at = (begin - part.first) * part.k;
    if (floats) {
      return decode_floats(tensors, entry, begin, end, part.k, check,
                           loaded.values.as<float>() + at);
    }
    return entry.int8_decoder->rows(begin, end, loaded.values.as<int8_t>() + at);
  });
}

// Rows [first, first + count) of a matrix as they are stored; kBadFormat naming it where one of
// `floats` is not finite. Memory's speed takes all threads: weights have gigabytes.
Expected<Tensor> read_rows(const TensorSet& tensors, const TensorEntry& entry, int64_t first,
                           int64_t count, const Context* context, bool floats) {
  TensorView view = entry.view;
  const uint64_t row_bytes = static_cast<uint64_t>(view.shape[1]) * dtype_size(view.dtype);
  const uint64_t at = static_cast<uint64_t>(first) * row_bytes;
  view.shape.dims[0] = count;
  const bool is_mapped = entry.file == nullptr;
  if (is_mapped && !floats) return Tensor{{view.as<std::byte>() + at, view.dtype, view.shape}, {}};
  AlignedBuffer memory;
  if (!is_mapped) {
    INTAGLIO_ASSIGN(memory, AlignedBuffer::allocate(view.size_bytes()));
  }
  view.data = is_mapped ? view.as<std::byte>() + at : memory.as<std::byte>();
  constexpr int64_t kPiece = int64_t{1} << 20;  // looked at while it is in a cache
  FirstError failed;
  const auto read = [&](int64_t begin, int64_t end) -> Status {
    const auto bytes = static_cast<size_t>(end - begin);
    if (!is_mapped)
      INTAGLIO_TRY(read_tensor_bytes(entry, at + static_cast<uint64_t>(begin),
                                     {memory.as<std::byte>() + begin, bytes}));
    if (!floats || are_finite(view.dtype, {view.as<std::byte>() + begin, bytes})) return {};
    return make_error(ErrorCode::kBadFormat, "{}: {}: holds an Inf or a NaN", tensors.path(),
                      printable(entry.name));
  };
  INTAGLIO_TRY(parallel_tasks(
      context == nullptr ? Context{.threads = 1} : *context,
      static_cast<int64_t>(view.size_bytes()), kPiece,
      [&](int64_t begin, int64_t end, int) { failed.keep(begin, read(begin, end)); }));
  INTAGLIO_TRY(failed.status());
  return Tensor{view, std::move(memory)};
}

}  // namespace

Expected<std::shared_ptr<const StoredWeights>> StoredWeights::open(
    std::shared_ptr<const Checkpoint> checkpoint) {
  std::vector<const TensorFile*> files;
  for (const auto& file : checkpoint->files()) files.push_back(file.get());
  INTAGLIO_ASSIGN(TensorSet tensors,
                  TensorSet::of(checkpoint->path().string(), checkpoint->tensors(), files,
                                checkpoint->quantization()));
  return read(std::move(checkpoint), std::move(tensors));
}

Expected<std::shared_ptr<const StoredWeights>> StoredWeights::open(
    std::shared_ptr<const TensorFile> file, std::string quantization) {
  std::vector<const TensorEntry*> entries;
  for (const TensorEntry& entry : file->tensors()) entries.push_back(&entry);
  const TensorFile* const one = file.get();
  INTAGLIO_ASSIGN(TensorSet tensors, TensorSet::of(file->path().string(), entries, {&one, 1},
                                                   std::move(quantization)));
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
    if (weights->linears_.contains(name)) {
      return make_error(ErrorCode::kBadFormat, "{}: {}.weight: there are two, in two forms",
                        weights->tensors_.path(), printable(name));
    }
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
                     [](const auto& item) { return item.second.is_quantized(); });
}

Expected<LoadedLinear> StoredWeights::linear(std::string_view name, const Context* context) const {
  const LinearEntry* const entry = find_linear(name);
  return linear(name, context, entry == nullptr ? LinearPart{} : LinearPart{0, entry->n, entry->k});
}

Expected<LoadedLinear> StoredWeights::linear(std::string_view name, const Context* context,
                                             const LinearPart& part, FiniteCheck check) const {
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
  result.linear.decoded = entry->decoder != nullptr;
  if (entry->decoder != nullptr || entry->int8_decoder != nullptr) {
    INTAGLIO_TRY(decode(tensors_, *entry, context, part, check, result));
  } else {
    const bool looks = entry->encoding == Encoding::kFloat && check == FiniteCheck::kHere;
    INTAGLIO_ASSIGN(Tensor values,
                    read_rows(tensors_, *entry->values, part.first, part.count, context, looks));
    result.linear.values = values.view;
    result.values = std::move(values.memory);
  }
  if (entry->encoding == Encoding::kFloat) return result;
  INTAGLIO_ASSIGN(result.scales, read_scales(tensors_, *entry));
  result.linear.scales = {result.scales.as<float>() + part.first, DType::kF32, Shape{part.count}};
  if (entry->input_scale != nullptr) {
    INTAGLIO_ASSIGN(result.smooth, read_smooth(tensors_, *entry->input_scale));
    result.linear.smooth = {result.smooth.data(), DType::kF32, Shape{entry->k}};
  }
  return result;
}

Expected<Tensor> StoredWeights::tensor(std::string_view name) const {
  const TensorEntry* const entry = tensors_.find(name);
  const std::string_view module = name.substr(0, std::min(name.rfind('.'), name.size()));
  const LinearEntry* const linear = name.ends_with(".weight") ? find_linear(module) : nullptr;
  if (linear != nullptr && linear->encoding != Encoding::kFloat) {
    return make_error(ErrorCode::kUnsupported, "{}: {}: found {} with scales, expected floats",
                      tensors_.path(), printable(name), type_and_shape(*linear->values));
  }
  if (linear != nullptr && linear->decoder != nullptr) {
    INTAGLIO_ASSIGN(LoadedLinear loaded, this->linear(module));
    return Tensor{loaded.linear.values, std::move(loaded.values)};
  }
  if (entry == nullptr) {
    return make_error(ErrorCode::kNotFound, "{}: {}: missing", tensors_.path(), printable(name));
  }
  if (!is_read_as_floats(*entry) || is_weight_float(*entry)) return read_tensor(*entry);
  INTAGLIO_ASSIGN(const std::vector<float> floats, read_floats_or_fp8(*entry));
  INTAGLIO_ASSIGN(AlignedBuffer memory, AlignedBuffer::allocate(floats.size() * sizeof(float)));
  std::copy(floats.begin(), floats.end(), memory.as<float>());
  const TensorView view{memory.data(), DType::kF32, entry->shape()};
  return Tensor{view, std::move(memory)};
}

Status StoredWeights::rows(std::string_view name, int64_t k, std::span<const int64_t> which,
                           float* out) const {
  const LinearEntry* const entry = find_linear(name);
  if (entry == nullptr) return linear(name).map([](const auto&) {});  // says what is there
  LoadedLinear loaded;                                                // of a row
  loaded.linear.encoding = entry->encoding;
  loaded.linear.rotation = entry->rotation;
  AlignedBuffer scales;
  if (entry->encoding == Encoding::kInt8Rows) {
    INTAGLIO_ASSIGN(scales, read_scales(tensors_, *entry));
  }
  if (entry->input_scale != nullptr) {
    INTAGLIO_ASSIGN(loaded.smooth, read_smooth(tensors_, *entry->input_scale));
    loaded.linear.smooth = {loaded.smooth.data(), DType::kF32, Shape{k}};
  }
  for (const int64_t row : which) {
    if (entry->decoder != nullptr) {
      INTAGLIO_TRY(decode_floats(tensors_, *entry, row, row + 1, k, FiniteCheck::kHere, out));
    } else {
      if (entry->int8_decoder != nullptr) {
        INTAGLIO_TRY(decode(tensors_, *entry, nullptr, {row, 1, k}, FiniteCheck::kHere, loaded));
      } else {
        INTAGLIO_ASSIGN(Tensor values, read_rows(tensors_, *entry->values, row, 1, nullptr, false));
        loaded.linear.values = values.view;
        loaded.values = std::move(values.memory);
      }
      if (entry->encoding == Encoding::kInt8Rows)
        loaded.linear.scales = {scales.as<float>() + row, DType::kF32, Shape{1}};
      dequantize_row(loaded.linear, 0, out);
    }
    out += k;
  }
  return {};
}

}  // namespace intaglio
