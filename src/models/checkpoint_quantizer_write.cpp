// The numbers of a planned checkpoint, and the files that they go into.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/files.h"
#include "core/first_error.h"
#include "core/parallel_tasks.h"
#include "core/round_floats.h"
#include "core/side_task.h"
#include "io/content_hash.h"
#include "io/safetensors_writer.h"
#include "models/checkpoint_quantizer.h"
#include "ops/stored_rows.h"
#include "quant/gptq.h"

namespace intaglio {

namespace fs = std::filesystem;

// nullptr: rounded to nearest. Parts of one linear read the same rows.
const std::vector<float>* CheckpointQuantizer::inputs_of(const Linear& linear) const {
  const auto found = inputs_.find(linear.pieces.front().own);
  return linear.quantized && found != inputs_.end() ? found->second.get() : nullptr;
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
  std::optional<GptqRounding> rounding;
  if (const std::vector<float>* const read = inputs_of(linear); read != nullptr)
    rounding = GptqRounding::of_inputs(
        *read, linear.k, factors(&FoldedSmoothing::columns, linear.pieces.front().own),
        linear.rotation);
  std::byte* values = out.values.as<std::byte>();
  float* scales = out.scales.data();
  for (const Piece& piece : linear.pieces) {
    const LinearEntry& entry = *stored_->find_linear(piece.module);
    const LinearPart all{piece.first, piece.count, linear.k};
    // Floats are read, or decoded, by whoever quantizes them, while they are in its cache.
    const bool in_parts = entry.encoding == Encoding::kFloat;
    const std::span<const float> columns = factors(&FoldedSmoothing::columns, piece.own);
    const std::span<const float> divisors = factors(&FoldedSmoothing::rows, piece.own);
    INTAGLIO_ASSIGN(const AdapterMerge merge, adapters_.read_merge(piece.own, piece.count));
    LoadedLinear whole;
    if (!in_parts) {
      INTAGLIO_ASSIGN(whole, stored_->linear(piece.module, &context, all));
    }
    const bool is_unchanged = columns.empty() && merge.empty() && !rounding;
    // Quantizing finds what is not finite by itself.
    const FiniteCheck check =
        in_parts && is_unchanged && linear.quantized ? FiniteCheck::kCaller : FiniteCheck::kHere;
    const auto convert = [&](int64_t begin, int64_t end) -> Status {
      const LinearPart part_rows{piece.first + begin, end - begin, linear.k};
      LoadedLinear part;
      if (in_parts) {
        INTAGLIO_ASSIGN(part, stored_->linear(piece.module, nullptr, part_rows, check));
      }
      const StoredLinear w = in_parts ? part.linear : whole.linear.rows(begin, end - begin);
      const bool is_float = w.encoding == Encoding::kFloat;
      // In its grid already.
      const bool is_same = linear.quantized && !is_float && w.rotation == linear.rotation &&
                           w.smooth.data == nullptr && columns.empty() && merge.empty();
      const bool is_raw =
          is_float && is_unchanged &&
          (linear.quantized || (w.values.dtype == linear.floats && divisors.empty()));
      std::byte* const to = values + static_cast<size_t>(begin) * row_bytes;
      if (is_same) std::copy_n(w.scales.as<float>(), w.n(), scales + begin);
      if (is_same || (is_raw && !linear.quantized)) {
        std::memcpy(to, w.values.data, w.values.size_bytes());
      }
      std::vector<float> rows(is_raw || is_same ? 0 : static_cast<size_t>(w.n()) * k);
      std::vector<float> work(merge.empty() ? 0 : 3 * k);
      for (int64_t r = 0; r < w.n() && !rows.empty(); ++r) {
        float* const row = rows.data() + r * linear.k;
        dequantize_row(w, r, row);
        if (!merge.empty() && !merge.merge_row(begin + r, {row, k}, work.data()))
          return merge.not_finite(piece.own);
        for (size_t c = 0; c < columns.size(); ++c) row[c] *= columns[c];
        if (linear.quantized || divisors.empty()) continue;
        const float divisor = divisors[static_cast<size_t>(begin + r)];
        for (float* value = row; value != row + linear.k; ++value) *value /= divisor;
      }
      if (!linear.quantized) {
        if (!rows.empty()) convert_from_f32(rows.data(), linear.floats, to, rows.size());
        return {};
      }
      if (!is_same && rounding) {
        for (int64_t r = 0; r < w.n() && linear.rotation.kind != RotationKind::kNone; ++r)
          rotate_row(rows.data() + r * linear.k, linear.k, linear.rotation.group);
        rounding->round_rows(rows.data(), w.n(), reinterpret_cast<int8_t*>(to), scales + begin);
      } else if (!is_same) {
        std::atomic<bool> finite{true};
        INTAGLIO_TRY(quantize_stored_rows(serial, {.w = is_raw ? w.values.data : rows.data(),
                                                   .dtype = is_raw ? w.values.dtype : DType::kF32,
                                                   .rows = w.n(),
                                                   .cols = linear.k,
                                                   .rotation = linear.rotation,
                                                   .q = reinterpret_cast<int8_t*>(to),
                                                   .scale = scales + begin,
                                                   .finite = &finite}));
        // The reader says where, unless it was sums that overflowed.
        if (!finite && check == FiniteCheck::kCaller)
          INTAGLIO_TRY(stored_->linear(piece.module, nullptr, part_rows));
      }
      for (int64_t r = begin; r < end && !divisors.empty(); ++r)
        scales[r] /= divisors[static_cast<size_t>(r)];
      return {};
    };
    constexpr int64_t kPieceElements = 256 << 10;
    const int64_t grain = std::max<int64_t>(
        1, (entry.decoder ? entry.decoder->piece_elements() : kPieceElements) / linear.k);
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
    const Shape vector = vector_shape(other, part);
    if (vector.rank == 1) {
      Tensor sum{{begin, other.dtype, vector}, {}};
      INTAGLIO_TRY(adapters_.add_to(part.own, sum));
      if (sum.memory.data() != nullptr) {
        const size_t at = bytes.size();
        bytes.resize(at + size);
        convert_from_f32(sum.view.as<float>(), other.dtype, bytes.data() + at,
                         static_cast<size_t>(vector.count()));
        continue;
      }
    }
    bytes.insert(bytes.end(), begin, begin + size);
  }
  return bytes;
}

// The files that the numbers come from, what is merged into them and what they are multiplied by;
// what else is made of them the new file's header says.
std::string CheckpointQuantizer::job() const {
  std::string text;
  for (const auto& file : checkpoint_->files()) {
    std::error_code ignored;
    const fs::path path = fs::absolute(file->path(), ignored);
    text += fmt::format("{}\n{}\n{}\n", path.string(), fs::file_size(path, ignored),
                        fs::last_write_time(path, ignored).time_since_epoch().count());
  }
  if (smoothing_ != nullptr) text += smoothing_->digest();
  for (const auto& [name, rows] : inputs_)
    text += fmt::format("{} read {:016x}\n", name, hash64(std::as_bytes(std::span(*rows))));
  return text + adapters_text_;
}

Expected<std::string> CheckpointQuantizer::identity() const {
  INTAGLIO_ASSIGN(const std::string header,
                  safetensors_header(checkpoint_->path(), entries_, metadata_));
  return job() + header + fmt::format("{}", fmt::join(shards_, ","));
}

std::vector<fs::path> CheckpointQuantizer::files(const fs::path& target) const {
  const size_t count = shards_.size() - 1;
  if (count == 1) return {target};
  std::vector<fs::path> files;
  for (size_t i = 1; i <= count; ++i) {
    files.push_back(target.parent_path() /
                    fmt::format("{}-{:05}-of-{:05}.safetensors", target.stem().string(), i, count));
  }
  files.push_back(fs::path(target) += ".index.json");
  return files;
}

// Of a shard: the layers that it has.
std::map<std::string, std::string> CheckpointQuantizer::metadata_of(size_t begin,
                                                                    size_t end) const {
  if (begin == 0 && end == outputs_.size()) return metadata_;
  std::map<std::string, std::string> metadata = metadata_;
  metadata.erase(kLayersKey);
  const std::string layers = layers_text(begin, end);
  if (!layers.empty()) metadata.emplace(kLayersKey, layers);
  return metadata;
}

Status CheckpointQuantizer::write_tensors(const Context& context, SafetensorsWriter& writer,
                                          size_t begin, size_t end,
                                          const Progress& progress) const {
  Numbers turns[2];  // one is made while the other is written
  int turn = 0;
  SideTask writing;  // the only one that writes, until it is waited for
  for (size_t at = begin + writer.next(); at < end;) {
    INTAGLIO_TRY(check_cancelled(context));
    progress(static_cast<int64_t>(at), static_cast<int64_t>(outputs_.size()));
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
    at += (has_weight ? 1u : 0u) + (linear.quantized ? 1u : 0u);
  }
  return writing.wait();
}

// As diffusers and transformers write it.
Status CheckpointQuantizer::write_index(std::span<const fs::path> files) const {
  nlohmann::json map = nlohmann::json::object();
  uint64_t bytes = 0;
  for (size_t shard = 0; shard + 1 < shards_.size(); ++shard) {
    for (size_t i = shards_[shard]; i < shards_[shard + 1]; ++i) {
      map[entries_[i].name] = files[shard].filename().string();
      bytes += entries_[i].view.size_bytes();
    }
  }
  const nlohmann::json index{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
  return write_file_atomic(files.back(), index.dump(2) + "\n");
}

// Shards get their names when all of them are whole: until then each is found by its digits.
Expected<QuantizeReport> CheckpointQuantizer::write(const Context& context, const fs::path& target,
                                                    const Progress& progress) const {
  QuantizeReport report;
  const std::vector<fs::path> files = this->files(target);
  std::vector<SafetensorsWriter> writers;
  for (size_t i = 0; i + 1 < shards_.size(); ++i) {
    const size_t begin = shards_[i], end = shards_[i + 1];
    const auto tensors = std::span(entries_).subspan(begin, end - begin);
    INTAGLIO_ASSIGN(SafetensorsWriter writer,
                    SafetensorsWriter::begin(files[i], tensors, metadata_of(begin, end), job(),
                                             context.cancel));
    report.resumed = report.resumed || writer.next() > 0;
    INTAGLIO_TRY(write_tensors(context, writer, begin, end, progress));
    writers.push_back(std::move(writer));
  }
  for (SafetensorsWriter& writer : writers) INTAGLIO_TRY(writer.commit());
  if (files.size() > 1) INTAGLIO_TRY(write_index(files));
  progress(static_cast<int64_t>(outputs_.size()), static_cast<int64_t>(outputs_.size()));
  for (const Linear& linear : linears_) {
    report.quantized += linear.quantized;
    report.turned += linear.rotation.kind != RotationKind::kNone;
    report.floats += !linear.quantized;
    report.fitted += inputs_of(linear) != nullptr;
    report.smoothed += !factors(&FoldedSmoothing::columns, linear.pieces.front().own).empty();
  }
  report.shards = static_cast<int64_t>(writers.size());
  std::error_code ignored;
  for (size_t i = 0; i < writers.size(); ++i) report.bytes += fs::file_size(files[i], ignored);
  return report;
}

}  // namespace intaglio
