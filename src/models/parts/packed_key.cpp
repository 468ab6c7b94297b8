#include "models/parts/packed_key.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/memory.h"
#include "io/content_hash.h"
#include "io/packed_file.h"
#include "ops/linear_prepare.h"

namespace intaglio {
namespace {

// Files of a set of tensors, each once.
std::vector<const InputFile*> files_of(std::span<const TensorEntry* const> tensors) {
  std::vector<const InputFile*> files;
  for (const TensorEntry* const tensor : tensors)
    if (std::find(files.begin(), files.end(), tensor->file) == files.end())
      files.push_back(tensor->file);
  return files;
}

std::string device_text(const Context& context) {
  if (context.gpu != nullptr)
    return fmt::format("{}, compute capability {}", context.gpu->name,
                       context.gpu->compute_capability);
  return fmt::format("cpu {}", cpu_isa_name(context.cpu.isa));
}

// What make_linear makes of a matrix that is the same everywhere.
Expected<std::string> fingerprint(const Context& context, LinearKind kind, GemmEpilogue epilogue) {
  constexpr int64_t kRows = 80, kColumns = 192;
  std::vector<float> values(static_cast<size_t>(kRows * kColumns));
  uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
  }
  const TensorView part{values.data(), DType::kF32, Shape{kRows, kColumns}};
  LinearSource source;
  source.parts = float_parts(std::array{part});
  if (is_gated(epilogue)) source.parts = float_parts(std::array{part, part});
  INTAGLIO_ASSIGN(const LinearWeights weights, make_linear(context, kind, epilogue, source));
  std::string text = packed_attributes(weights);
  for (const AlignedBuffer* const memory : {&weights.packed, &weights.scales}) {
    std::vector<std::byte> bytes(memory->size());
    INTAGLIO_TRY(copy_out(context, bytes.data(), memory->data(), bytes.size()));
    text += fmt::format(" {:016x}", hash64(bytes));
  }
  return text;
}

}  // namespace

std::shared_ptr<const StoredWeights> stored_weights_of(const TensorSource& source) {
  if (dynamic_cast<const CheckpointSource*>(&source) == nullptr) return nullptr;
  // It is what such a source holds alive.
  return std::static_pointer_cast<const StoredWeights>(source.keep_alive());
}

Expected<std::string> tensors_identity(std::span<const TensorEntry* const> tensors) {
  std::string text;
  for (const InputFile* const file : files_of(tensors)) {
    if (file == nullptr) return make_error(ErrorCode::kUnsupported, "weights in memory");
    INTAGLIO_ASSIGN(const std::string identity, file_identity(*file));
    text += fmt::format("file {}\n", identity);
  }
  for (const TensorEntry* const tensor : tensors)
    text += fmt::format("tensor {} {} {} {} {}\n", tensor->name, dtype_name(tensor->view.dtype),
                        to_string(tensor->view.shape), tensor->foreign, tensor->at);
  return text;
}

std::string packed_attributes(const LinearWeights& w) {
  return fmt::format(
      "{} {}x{} {} {} {} {}{}{}{}", linear_kind_name(w.kind), w.n, w.k, epilogue_name(w.epilogue),
      w.implementation->name, w.s8_gemm != nullptr ? w.s8_gemm->name : "-",
      w.float_gemm != nullptr ? w.float_gemm->name : "-", w.as_stored ? " as stored" : "",
      w.rotation.kind == RotationKind::kNone ? std::string()
                                             : fmt::format(" rotated in {}", w.rotation.group),
      w.smoothed ? " smoothed" : "");
}

size_t packed_row_bytes(const LinearWeights& w) {
  const auto elements = static_cast<size_t>(w.n * w.k);
  const bool cpu = w.implementation->device == DeviceKind::kCpu;
  switch (w.kind) {
    case LinearKind::kS8:
      return cpu ? w.s8_gemm->packed_bytes(w.n, w.k) : elements;
    case LinearKind::kS8Dequant:
    case LinearKind::kF8:
      return elements;
    case LinearKind::kNf4:
      return elements / 2;
    case LinearKind::kF32:
    case LinearKind::kBF16:
      break;
  }
  const size_t packed = cpu ? w.float_gemm->packed_bytes(
                                  {.m = kLinearRowHint, .n = w.n, .k = w.k, .in_dtype = w.input})
                            : 0;
  return packed > 0 ? packed : elements * dtype_size(w.input);
}

size_t packed_scale_bytes(const LinearWeights& w) {
  switch (w.kind) {
    case LinearKind::kF32:
    case LinearKind::kBF16:
      return 0;
    case LinearKind::kNf4:
      return static_cast<size_t>(w.n * w.k / 64) * sizeof(float);
    case LinearKind::kS8:
    case LinearKind::kS8Dequant:
    case LinearKind::kF8:
      break;
  }
  return static_cast<size_t>(w.n) * sizeof(float);
}

bool is_worth_packing(const Context& context, const LinearDesc& desc, bool decoded) {
  if (desc.kind == LinearKind::kF32 || desc.kind == LinearKind::kBF16) return decoded;
  return !(desc.as_stored && context.gpu != nullptr);
}

Status PackedKey::linear(const LinearModule& module, LinearWeights& weights) {
  const LinearDesc desc = describe(module, selection_, &source_, adapters_);
  INTAGLIO_ASSIGN(weights, plan_linear(context_, desc));
  const std::vector<std::string> names = full_names(module);
  order_.push_back(names);
  bool decoded = false;
  for (const std::string& name : names)
    decoded = decoded || adapters_.form(name, source_.form(name, module.k)).decoded;
  if (!is_worth_packing(context_, desc, decoded)) return {};
  bytes_ += packed_row_bytes(weights);
  kinds_.emplace(weights.kind, weights.epilogue);
  text_ += fmt::format("linear {} {} {} {} {} {:016x} {}\n", fmt::join(names, " "),
                       fmt::join(module.rows, " "), module.k, module.padded_k, module.bias,
                       hash64(std::as_bytes(module.added_bias)), packed_attributes(weights));
  note_adapters(module);
  return {};
}

void PackedKey::note_adapters(const LinearModule& module) {
  const std::vector<std::string> names = full_names(module);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::vector<Adapters::Found> found = adapters_.find(names[i], module.rows[i]);
    const bool merges = std::any_of(found.begin(), found.end(), [](const Adapters::Found& f) {
      return f.module->changes_weight() && !f.module->is_low_rank();
    });
    for (const Adapters::Found& f : found) {
      const bool changes =
          (merges && f.module->changes_weight()) || f.module->at(AdapterLeaf::kDiffBias) != nullptr;
      if (!changes) continue;
      const auto is_same = [&](const AdapterUse& use) {
        return use.file == f.use->file && use.strength == f.use->strength;
      };
      if (std::none_of(merged_.begin(), merged_.end(), is_same)) merged_.push_back(*f.use);
    }
  }
}

Expected<std::string> PackedKey::fingerprints() const {
  std::string text;
  for (const auto& [kind, epilogue] : kinds_) {
    INTAGLIO_ASSIGN(const std::string made, fingerprint(context_, kind, epilogue));
    text += fmt::format("made {}\n", made);
  }
  return text;
}

Expected<std::string> PackedKey::key() const {
  const std::shared_ptr<const StoredWeights> stored = stored_weights_of(source_);
  if (stored == nullptr) return make_error(ErrorCode::kUnsupported, "weights of no file");
  std::vector<const TensorEntry*> tensors;
  for (const auto& [name, entry] : stored->tensors().tensors()) tensors.push_back(entry);
  INTAGLIO_ASSIGN(const std::string files, tensors_identity(tensors));
  INTAGLIO_ASSIGN(const std::string made, fingerprints());
  std::string text =
      fmt::format("packed {}\ndevice {}\nformat {} {}\n", kPackedVersion, device_text(context_),
                  stored->format(), stored->tensors().quantization());
  for (const AdapterUse& use : merged_) {
    std::vector<const TensorEntry*> entries;
    for (const TensorEntry& entry : use.file->file().tensors()) entries.push_back(&entry);
    INTAGLIO_ASSIGN(const std::string adapter, tensors_identity(entries));
    text += fmt::format("adapter at {}\n{}", use.strength, adapter);
  }
  return hash128_text(text + files + made + text_);
}

std::map<std::string, std::string> PackedKey::about() const {
  std::map<std::string, std::string> about{
      {"precision", std::string(precision_name(selection_.precision))},
      {"device", device_text(context_)}};
  if (const auto stored = stored_weights_of(source_)) about["source"] = stored->tensors().path();
  if (!selection_.keep_bf16.empty())
    about["keep_bf16"] = fmt::format("{}", fmt::join(selection_.keep_bf16, " "));
  for (const AdapterUse& use : merged_)
    about["adapters"] += fmt::format("{}{}:{}", about["adapters"].empty() ? "" : " ",
                                     use.file->path().filename().string(), use.strength);
  return about;
}

}  // namespace intaglio
