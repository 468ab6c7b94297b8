#include "models/checkpoint_quantizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/first_error.h"
#include "core/parallel_tasks.h"
#include "core/round_floats.h"
#include "core/side_task.h"
#include "io/printable.h"
#include "io/safetensors_writer.h"
#include "models/parts/selection.h"
#include "models/parts/weights.h"
#include "ops/stored_rows.h"
#include "quant/int8_rows.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";

// `name` with another end.
std::string with_end(std::string_view name, std::string_view end, std::string_view other) {
  return std::string(name.substr(0, name.size() - end.size())) + std::string(other);
}

// As ComfyUI writes it.
nlohmann::ordered_json descriptor_json(const Rotation& rotation, bool float_product) {
  nlohmann::ordered_json json{{"format", "int8_tensorwise"}};
  if (rotation.kind == RotationKind::kConvRot) {
    json["convrot"] = true;
    json["convrot_groupsize"] = rotation.group;
  }
  if (float_product) json["full_precision_matrix_mult"] = true;
  return json;
}

// Python's separators, as the published writers have them.
std::string spaced(const nlohmann::ordered_json& json) {
  std::string text;
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("{}\"{}\": {}", text.empty() ? "{" : ", ", key, value.dump());
  }
  return text + "}";
}

Shape with_rows(Shape shape, int64_t rows) {
  shape.dims[0] = rows;
  return shape;
}

TensorEntry entry_of(std::string name, DType dtype, const Shape& shape) {
  return {.name = std::move(name), .view = {nullptr, dtype, shape}};
}

}  // namespace

std::vector<CheckpointQuantizer::Canonical> CheckpointQuantizer::canonical(
    std::string_view module) const {
  std::vector<Canonical> found;
  for (const ModuleAlias& alias : modules_.aliases) {
    if (!ends_with_components(module, alias.stored)) continue;
    // The stored end of one model may be the whole of another's own name.
    std::string name = with_end(module, alias.stored, alias.module);
    found.push_back({std::move(name), alias.part, alias.parts});
  }
  if (found.empty()) found.push_back({std::string(module)});
  return found;
}

CheckpointQuantizer::Canonical CheckpointQuantizer::target(const std::string& module) const {
  if (names_ == ModuleNames::kDiffusers) return {module};
  for (const ModuleAlias& alias : modules_.aliases) {
    if (ends_with_components(module, alias.module))
      return {with_end(module, alias.module, alias.stored), alias.part, alias.parts};
  }
  constexpr std::string_view kText = "language_model.";
  if (modules_.part == "text_encoder" && module.starts_with(kText)) return {"model." + module};
  return {module};
}

Expected<CheckpointQuantizer> CheckpointQuantizer::plan(
    std::shared_ptr<const Checkpoint> checkpoint, const QuantizeOptions& options) {
  CheckpointQuantizer q;
  q.names_ = options.names;
  q.smoothing_ = options.smoothing;
  INTAGLIO_ASSIGN(q.stored_, StoredWeights::open(checkpoint));
  q.checkpoint_ = std::move(checkpoint);
  INTAGLIO_ASSIGN(q.modules_, find_part_modules(q.stored_->tensors()));
  INTAGLIO_TRY(q.plan_linears(options));
  INTAGLIO_TRY(q.check_keep(options));
  INTAGLIO_TRY(q.plan_others());
  q.list_outputs();
  return q;
}

// Forms that pad their weights do not say by how much: taken where nothing is padded, in the sizes
// that the model is known in.
Status CheckpointQuantizer::check_padding(const LinearEntry& entry) const {
  if (entry.padding == 1) return {};
  const std::vector<Canonical> own = canonical(entry.name);
  const auto known =
      modules_.sizes.find(without_numbers(own.front().module + std::string(kWeight)));
  const Shape found{entry.n / own.front().parts, entry.k};
  if (known != modules_.sizes.end() && known->second == found) return {};
  return make_error(
      ErrorCode::kUnsupported,
      "{}: {}: found a weight {} in a form that pads to multiples of {}, expected the "
      "{} of {}: without the model's config its own size is not known",
      stored_->tensors().path(), printable(entry.name), to_string(found), entry.padding,
      known == modules_.sizes.end() ? "weight" : to_string(known->second), modules_.model);
}

Status CheckpointQuantizer::plan_linears(const QuantizeOptions& options) {
  // By the new file's name: the pieces by their place in it, and all names of the module.
  struct Target {
    std::map<int, Piece> pieces;
    std::vector<std::string> names;
    int parts = 1;
  };
  std::map<std::string, Target> targets;
  for (const auto& [module, entry] : stored_->linears()) {
    INTAGLIO_TRY(check_padding(entry));
    for (const Canonical& own : canonical(module)) {
      if (entry.n % own.parts != 0) {
        return make_error(ErrorCode::kBadFormat,
                          "{}: {}.weight: {} rows, expected a multiple of {}",
                          stored_->tensors().path(), printable(module), entry.n, own.parts);
      }
      const int64_t rows = entry.n / own.parts;
      const Canonical to = target(own.module);
      Target& one = targets[to.module];
      one.parts = to.parts;
      one.pieces[to.part] = {module, own.part * rows, rows, own.module};
      for (const std::string& name : {module, own.module, to.module}) one.names.push_back(name);
    }
  }
  for (auto& [name, one] : targets) {
    Linear linear{.name = name, .pieces = {}};
    const LinearEntry* first = nullptr;
    for (const auto& [part, piece] : one.pieces) {
      const LinearEntry* const entry = stored_->find_linear(piece.module);
      if (first == nullptr) first = entry;
      if (entry->k != first->k) {
        return make_error(ErrorCode::kBadFormat, "{}: {}.weight has {} columns, {}.weight {}",
                          stored_->tensors().path(), printable(piece.module), entry->k,
                          printable(first->name), first->k);
      }
      linear.pieces.push_back(piece);
      linear.n += piece.count;
      linear.float_product |= entry->float_product;
    }
    if (static_cast<int>(one.pieces.size()) != one.parts) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: {} of its {} parts are there",
                        stored_->tensors().path(), printable(name), one.pieces.size(), one.parts);
    }
    linear.k = first->k;
    INTAGLIO_TRY(finish_linear(linear, std::move(one.names), options));
    linears_.push_back(std::move(linear));
  }
  return {};
}

// Whether it is quantized, and what its file's type is.
Status CheckpointQuantizer::finish_linear(Linear& linear, std::vector<std::string> names,
                                          const QuantizeOptions& options) {
  const bool is_meant = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return modules_.quantized.contains(without_numbers(name));
  });
  const bool is_kept = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::any_of(options.keep.begin(), options.keep.end(),
                       [&](const std::string& pattern) { return name_matches(pattern, name); });
  });
  if (is_meant) linear_names_.insert(names.begin(), names.end());
  linear.quantized = is_meant && !is_kept;
  // What was stored in fewer bits has none more to lose than bf16 takes.
  const auto type_of = [&](const Piece& piece) {
    const LinearEntry& entry = *stored_->find_linear(piece.module);
    return entry.is_quantized() ? DType::kBF16 : entry.values->view.dtype;
  };
  linear.floats = type_of(linear.pieces.front());
  for (const Piece& piece : linear.pieces)
    if (type_of(piece) != linear.floats) linear.floats = DType::kF32;
  if (!linear.quantized) return {};
  if (options.scheme == QuantizeScheme::kConvRot)
    linear.rotation = largest_rotation(linear.k, options.group);
  linear.descriptor = spaced(descriptor_json(linear.rotation, linear.float_product));
  return {};
}

std::map<std::string, uint64_t> CheckpointQuantizer::quantized() const {
  std::map<std::string, uint64_t> growth;
  for (const Linear& linear : linears_) {
    if (!linear.quantized) continue;
    const auto more = dtype_size(linear.floats) - 1;
    for (const Piece& piece : linear.pieces)
      growth[piece.own] = more * static_cast<uint64_t>(piece.count * linear.k);
  }
  return growth;
}

uint64_t CheckpointQuantizer::bytes() const {
  uint64_t bytes = 0;
  for (const TensorEntry& entry : entries_) bytes += entry.view.size_bytes();
  return bytes;
}

// Of a linear or a vector; empty: ones.
std::span<const float> CheckpointQuantizer::factors(FoldedSmoothing::Values FoldedSmoothing::*kind,
                                                    const std::string& name) const {
  if (smoothing_ == nullptr) return {};
  const FoldedSmoothing::Values& values = smoothing_.get()->*kind;
  const auto found = values.find(name);
  return found == values.end() ? std::span<const float>() : std::span(found->second);
}

Status CheckpointQuantizer::check_keep(const QuantizeOptions& options) const {
  for (const std::string& pattern : options.keep) {
    if (std::any_of(linear_names_.begin(), linear_names_.end(),
                    [&](const std::string& name) { return name_matches(pattern, name); }))
      continue;
    return make_error(
        ErrorCode::kInvalidArgument,
        "keep: \"{}\" matches none of the {} linears that would be quantized, e.g. {}",
        printable(pattern), linears_.size(),
        linear_names_.empty() ? "none" : printable(*linear_names_.begin()));
  }
  return {};
}

// Its weight, or what a format puts beside or in place of it.
bool CheckpointQuantizer::is_output_of_linear(std::string_view name) const {
  for (size_t dot = name.rfind('.'); dot != std::string_view::npos && dot > 0;
       dot = name.rfind('.', dot - 1)) {
    if (stored_->find_linear(name.substr(0, dot)) == nullptr) continue;
    const std::string_view leaf = name.substr(dot + 1);
    if (leaf == "weight") return true;
    static const std::vector<std::string_view> parts = linear_parts();
    return leaf.starts_with("weight.") ||
           std::find(parts.begin(), parts.end(), leaf) != parts.end();
  }
  return false;
}

Status CheckpointQuantizer::plan_others() {
  struct Target {
    std::map<int, Other::Part> parts;
    int count = 1;
  };
  std::map<std::string, Target> targets;
  const std::vector<std::string_view> markers = checkpoint_markers();
  for (const auto& [name, entry] : stored_->tensors().tensors()) {
    const bool is_marker = std::find(markers.begin(), markers.end(), name) != markers.end();
    if (is_marker || !entry->foreign.empty() || is_output_of_linear(name)) continue;
    const size_t dot = name.rfind('.');
    const std::string module = dot == std::string::npos ? name : name.substr(0, dot);
    const std::string leaf = dot == std::string::npos ? "" : name.substr(dot);
    for (const Canonical& own : canonical(module)) {
      const int64_t rows = entry->view.shape.rank > 0 ? entry->view.shape[0] : 0;
      if (own.parts > 1 && (rows == 0 || rows % own.parts != 0)) {
        return make_error(ErrorCode::kBadFormat, "{}: {}: found {}, expected rows in thirds",
                          stored_->tensors().path(), printable(name), type_and_shape(*entry));
      }
      const Canonical to = target(own.module);
      Target& one = targets[to.module + leaf];
      one.count = to.parts;
      const int64_t count = own.parts > 1 || to.parts > 1 ? rows / own.parts : 0;
      one.parts[to.part] = {entry, own.part * count, count, own.module + leaf};
    }
  }
  for (auto& [name, one] : targets) {
    Other other{.name = name, .parts = {}, .dtype = DType::kF32, .shape = {}};
    const TensorEntry& first = *one.parts.begin()->second.entry;
    int64_t rows = 0;
    for (const auto& [at, part] : one.parts) {
      if (part.entry->view.dtype != first.view.dtype) {
        return make_error(ErrorCode::kBadFormat, "{}: {} is {}, {} is {}",
                          stored_->tensors().path(), printable(part.entry->name),
                          type_and_shape(*part.entry), printable(first.name),
                          type_and_shape(first));
      }
      other.parts.push_back(part);
      rows += part.count;
    }
    if (static_cast<int>(one.parts.size()) != one.count) {
      return make_error(ErrorCode::kBadFormat, "{}: {}: {} of its {} parts are there",
                        stored_->tensors().path(), printable(name), one.parts.size(), one.count);
    }
    const bool is_fp8 = is_read_as_floats(first) && !is_weight_float(first);
    other.dtype = is_fp8 ? DType::kF32 : first.view.dtype;
    other.shape = rows > 0 ? with_rows(first.view.shape, rows) : first.view.shape;
    others_.push_back(std::move(other));
  }
  return {};
}

void CheckpointQuantizer::add_output(Role role, size_t index, TensorEntry entry) {
  outputs_.push_back({role, index});
  entries_.push_back(std::move(entry));
}

// Descriptors, whose lengths are odd, come last: what stands before them is aligned as well as it
// can be.
void CheckpointQuantizer::list_outputs() {
  std::string layers;
  for (size_t i = 0; i < linears_.size(); ++i) {
    const Linear& linear = linears_[i];
    const std::string name = linear.name + std::string(kWeight);
    const Shape shape{linear.n, linear.k};
    add_output(Role::kWeight, i,
               entry_of(name, linear.quantized ? DType::kI8 : linear.floats, shape));
    if (!linear.quantized) continue;
    add_output(Role::kScales, i, entry_of(name + "_scale", DType::kF32, Shape{linear.n, 1}));
    layers += fmt::format("{}{}: {}", layers.empty() ? "" : ", ",
                          nlohmann::json(linear.name).dump(), linear.descriptor);
  }
  for (size_t i = 0; i < others_.size(); ++i)
    add_output(Role::kOther, i, entry_of(others_[i].name, others_[i].dtype, others_[i].shape));
  for (size_t i = 0; i < linears_.size(); ++i) {
    if (!linears_[i].quantized) continue;
    const auto length = static_cast<int64_t>(linears_[i].descriptor.size());
    add_output(Role::kDescriptor, i,
               entry_of(linears_[i].name + ".comfy_quant", DType::kU8, Shape{length}));
  }
  metadata_ = {{"format", "pt"}, {"quantized_by", "intaglio"}};
  const bool smooths = smoothing_ != nullptr && !smoothing_->empty();
  if (smooths || is_smoothed(*checkpoint_)) metadata_.emplace(kSmoothedKey, "true");
  if (!layers.empty()) {
    metadata_["_quantization_metadata"] =
        fmt::format("{{\"format_version\": \"1.0\", \"layers\": {{{}}}}}", layers);
  }
}

Status CheckpointQuantizer::make_numbers(const Context& context, const Linear& linear,
                                         Numbers& out) const {
  const auto k = static_cast<size_t>(linear.k);
  const size_t row_bytes = k * (linear.quantized ? 1 : dtype_size(linear.floats));
  out.bytes = static_cast<size_t>(linear.n) * row_bytes;
  if (out.values.size() < out.bytes) {
    out.values = {};
    INTAGLIO_ASSIGN(out.values, AlignedBuffer::allocate(out.bytes));
  }
  out.scales.resize(linear.quantized ? static_cast<size_t>(linear.n) : 0);
  Context serial = context;
  serial.threads = 1;
  std::byte* values = out.values.as<std::byte>();
  float* scales = out.scales.data();
  for (const Piece& piece : linear.pieces) {
    const LinearEntry& entry = *stored_->find_linear(piece.module);
    const std::span<const float> columns = factors(&FoldedSmoothing::columns, piece.own);
    const std::span<const float> divisors = factors(&FoldedSmoothing::rows, piece.own);
    const LinearPart all{piece.first, piece.count, linear.k};
    // Plain floats are read by whoever quantizes them, while they are in its cache.
    const bool in_parts = entry.encoding == Encoding::kFloat && entry.decoder == nullptr;
    LoadedLinear whole;
    if (!in_parts) {
      INTAGLIO_ASSIGN(whole, stored_->linear(piece.module, &context, all));
    }
    const auto convert = [&](int64_t begin, int64_t end) -> Status {
      LoadedLinear part;
      if (in_parts) {
        const LinearPart rows{piece.first + begin, end - begin, linear.k};
        INTAGLIO_ASSIGN(part, stored_->linear(piece.module, nullptr, rows));
      }
      const StoredLinear w = in_parts ? part.linear : whole.linear.rows(begin, end - begin);
      const bool is_float = w.encoding == Encoding::kFloat;
      // In its grid already.
      const bool is_same = linear.quantized && !is_float && w.rotation == linear.rotation &&
                           w.smooth.data == nullptr && columns.empty();
      const bool is_raw =
          is_float && !w.decoded && columns.empty() &&
          (linear.quantized || (w.values.dtype == linear.floats && divisors.empty()));
      std::byte* const to = values + static_cast<size_t>(begin) * row_bytes;
      if (is_same) std::copy_n(w.scales.as<float>(), w.n(), scales + begin);
      if (is_same || (is_raw && !linear.quantized)) {
        std::memcpy(to, w.values.data, w.values.size_bytes());
      }
      std::vector<float> rows(is_raw || is_same ? 0 : static_cast<size_t>(w.n()) * k);
      for (int64_t r = 0; r < w.n() && !rows.empty(); ++r) {
        float* const row = rows.data() + r * linear.k;
        dequantize_row(w, r, row);
        for (size_t c = 0; c < columns.size(); ++c) row[c] *= columns[c];
        if (linear.quantized || divisors.empty()) continue;
        const float divisor = divisors[static_cast<size_t>(begin + r)];
        for (float* value = row; value != row + linear.k; ++value) *value /= divisor;
      }
      if (!linear.quantized) {
        if (!rows.empty()) convert_from_f32(rows.data(), linear.floats, to, rows.size());
        return {};
      }
      if (!is_same) {
        INTAGLIO_TRY(quantize_stored_rows(serial, {.w = is_raw ? w.values.data : rows.data(),
                                                   .dtype = is_raw ? w.values.dtype : DType::kF32,
                                                   .rows = w.n(),
                                                   .cols = linear.k,
                                                   .rotation = linear.rotation,
                                                   .q = reinterpret_cast<int8_t*>(to),
                                                   .scale = scales + begin}));
      }
      for (int64_t r = begin; r < end && !divisors.empty(); ++r)
        scales[r] /= divisors[static_cast<size_t>(r)];
      return {};
    };
    constexpr int64_t kPieceElements = 256 << 10;
    const int64_t grain = std::max<int64_t>(1, kPieceElements / linear.k);
    FirstError failed;
    INTAGLIO_TRY(parallel_tasks(context, piece.count, grain, [&](int64_t begin, int64_t end, int) {
      failed.keep(begin, convert(begin, end));
    }));
    INTAGLIO_TRY(failed.status());
    values += static_cast<size_t>(piece.count) * row_bytes;
    if (linear.quantized) scales += piece.count;
  }
  return {};
}

Expected<std::vector<std::byte>> CheckpointQuantizer::bytes_of(const Other& other) const {
  std::vector<std::byte> bytes;
  for (const Other::Part& part : other.parts) {
    Tensor tensor;
    if (is_read_as_floats(*part.entry)) {
      INTAGLIO_ASSIGN(tensor, stored_->tensor(std::string(without_model_prefix(part.entry->name))));
    } else {
      INTAGLIO_ASSIGN(tensor, read_tensor(*part.entry));
    }
    const std::span<const float> smoothed = factors(&FoldedSmoothing::vectors, part.own);
    std::vector<std::byte> replaced(smoothed.size() * dtype_size(tensor.view.dtype));
    convert_from_f32(smoothed.data(), tensor.view.dtype, replaced.data(), smoothed.size());
    const auto* begin = replaced.empty() ? tensor.view.as<std::byte>() : replaced.data();
    size_t size = tensor.view.size_bytes();
    if (part.count > 0) {
      const size_t row = size / static_cast<size_t>(tensor.view.shape[0]);
      begin += static_cast<size_t>(part.first) * row;
      size = static_cast<size_t>(part.count) * row;
    }
    bytes.insert(bytes.end(), begin, begin + size);
  }
  return bytes;
}

// The files that the numbers come from, and what they are multiplied by; what else is made of them
// the new file's header says.
std::string CheckpointQuantizer::job() const {
  std::string text;
  for (const auto& file : checkpoint_->files()) {
    std::error_code ignored;
    const std::filesystem::path path = std::filesystem::absolute(file->path(), ignored);
    text += fmt::format("{}\n{}\n{}\n", path.string(), std::filesystem::file_size(path, ignored),
                        std::filesystem::last_write_time(path, ignored).time_since_epoch().count());
  }
  if (smoothing_ != nullptr) text += smoothing_->digest();
  return text;
}

Expected<std::string> CheckpointQuantizer::identity() const {
  INTAGLIO_ASSIGN(const std::string header,
                  safetensors_header(checkpoint_->path(), entries_, metadata_));
  return job() + header;
}

Expected<QuantizeReport> CheckpointQuantizer::write(const Context& context,
                                                    const std::filesystem::path& target,
                                                    const Progress& progress) const {
  INTAGLIO_ASSIGN(SafetensorsWriter writer,
                  SafetensorsWriter::begin(target, entries_, metadata_, job(), context.cancel));
  QuantizeReport report{.resumed = writer.next() > 0};
  const auto all = static_cast<int64_t>(outputs_.size());
  Numbers turns[2];  // one is made while the other is written
  int turn = 0;
  SideTask writing;  // the only one that writes, until it is waited for
  for (size_t at = writer.next(); at < outputs_.size();) {
    INTAGLIO_TRY(check_cancelled(context));
    progress(static_cast<int64_t>(at), all);
    const Output& output = outputs_[at];
    if (output.role == Role::kOther) {
      INTAGLIO_ASSIGN(const std::vector<std::byte> bytes, bytes_of(others_[output.index]));
      INTAGLIO_TRY(writing.wait());
      INTAGLIO_TRY(writer.write(bytes));
      ++at;
      continue;
    }
    const Linear& linear = linears_[output.index];
    if (output.role == Role::kDescriptor) {
      INTAGLIO_TRY(writing.wait());
      INTAGLIO_TRY(writer.write(std::as_bytes(std::span(linear.descriptor))));
      ++at;
      continue;
    }
    const Numbers& made = turns[turn];
    INTAGLIO_TRY(make_numbers(context, linear, turns[turn]));
    turn = 1 - turn;
    const bool has_weight = output.role == Role::kWeight;
    INTAGLIO_TRY(writing.start([&writer, &made, has_weight]() -> Status {
      if (has_weight) INTAGLIO_TRY(writer.write({made.values.as<std::byte>(), made.bytes}));
      return made.scales.empty() ? Status{} : writer.write(std::as_bytes(std::span(made.scales)));
    }));
    at += (has_weight ? 1 : 0) + (linear.quantized ? 1 : 0);
  }
  INTAGLIO_TRY(writing.wait());
  INTAGLIO_TRY(writer.commit());
  progress(all, all);
  for (const Linear& linear : linears_) {
    report.quantized += linear.quantized;
    report.turned += linear.rotation.kind != RotationKind::kNone;
    report.floats += !linear.quantized;
    report.smoothed += !factors(&FoldedSmoothing::columns, linear.pieces.front().own).empty();
  }
  std::error_code ignored;
  report.bytes = std::filesystem::file_size(target, ignored);
  return report;
}

}  // namespace intaglio
