#include "models/parts/packed_modules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/memory.h"
#include "models/parts/side_dtype.h"

namespace intaglio {
namespace {

std::string record_name(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, " "));
}

Expected<AlignedBuffer> to_device(const Context& context, std::span<const std::byte> bytes) {
  INTAGLIO_ASSIGN(AlignedBuffer memory, allocate(context, bytes.size()));
  INTAGLIO_TRY(copy_in(context, memory.data(), bytes.data(), bytes.size()));
  return memory;
}

Expected<AlignedBuffer> to_host(const Context& context, const AlignedBuffer& memory) {
  INTAGLIO_ASSIGN(AlignedBuffer host, AlignedBuffer::allocate(memory.size()));
  INTAGLIO_TRY(copy_out(context, host.data(), memory.data(), memory.size()));
  return host;
}

// Whether the record is of weights like these, and of their sizes.
bool fits(const LinearWeights& weights, const PackedRecord& record, bool has_bias) {
  const auto bytes = [&](PackedPart part) { return record.runs[part].bytes; };
  const size_t bias = has_bias ? static_cast<size_t>(weights.n) * sizeof(float) : 0;
  const size_t smooth = weights.smoothed ? static_cast<size_t>(weights.k) * sizeof(float) : 0;
  return record.attributes == packed_attributes(weights) &&
         bytes(kPackedRows) == packed_row_bytes(weights) &&
         bytes(kPackedScales) == packed_scale_bytes(weights) && bytes(kPackedBias) == bias &&
         bytes(kPackedSmooth) == smooth;
}

}  // namespace

ReadAhead read_ahead_of(const TensorSource& source, const PackedKey& key,
                        std::span<const ModuleAlias> aliases) {
  ReadAhead ahead;
  const std::shared_ptr<const StoredWeights> stored = stored_weights_of(source);
  if (stored == nullptr) return ahead;
  for (const std::vector<std::string>& names : key.order()) {
    std::vector<ReadAhead::Range> ranges;
    for (const std::string& name : names) {
      for (const std::string& candidate : stored_names(name + ".weight", aliases)) {
        const TensorEntry* const entry = stored->tensors().find(candidate);
        if (entry != nullptr && entry->file != nullptr)
          ranges.push_back({entry->file, entry->at, entry->view.size_bytes()});
      }
    }
    ahead.add(std::move(ranges));
  }
  return ahead;
}

PrepareModules& PackedModules::inner() {
  inner_.begin_layer(layer_, prefix_);
  return inner_;
}

bool PackedModules::is_worth(const LinearModule& module) const {
  bool decoded = false;
  for (const std::string& name : full_names(module))
    decoded = decoded || adapters_.form(name, source_.form(name, module.k)).decoded;
  return is_worth_packing(context_, describe(module, selection_, &source_, adapters_), decoded);
}

Status PackedModules::linear(const LinearModule& module, LinearWeights& weights) {
  INTAGLIO_TRY(check_cancelled(context_));
  const size_t index = linears_++;
  INTAGLIO_ASSIGN(std::optional<LinearWeights> found, from_store(module));
  if (found) {
    weights = std::move(*found);
    return prepared_ ? prepared_(module.residence, layer_, weights) : Status{};
  }
  ahead_.reached(index);
  INTAGLIO_TRY(inner().linear(module, weights));
  const bool keeps = store_ != nullptr && store_->writer() != nullptr && is_worth(module);
  if (keeps && context_.gpu != nullptr) INTAGLIO_TRY(to_store(module, weights));
  if (prepared_) INTAGLIO_TRY(prepared_(module.residence, layer_, weights));
  return keeps && context_.gpu == nullptr ? to_store(module, weights) : Status{};
}

Status PackedModules::vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) {
  return inner().vector(name, shape, vector);
}

Status PackedModules::raised_vector(const std::string& name, const Shape& shape,
                                    AlignedBuffer& raised) {
  return inner().raised_vector(name, shape, raised);
}

Status PackedModules::host_vector(const std::string& name, const Shape& shape,
                                  std::vector<float>& values) {
  return inner().host_vector(name, shape, values);
}

Expected<std::optional<LinearWeights>> PackedModules::from_store(const LinearModule& module) {
  if (store_ == nullptr) return std::nullopt;
  const std::vector<std::string> names = full_names(module);
  const PackedRecord* const record = store_->find(record_name(names));
  if (record == nullptr) return std::nullopt;
  const bool has_bias = record->runs[kPackedBias].bytes > 0;
  LinearDesc desc = describe(module, selection_, &source_, adapters_);
  desc.has_bias = has_bias;
  // Parts that are smoothed by other numbers each went through floats.
  if (desc.as_stored && record->attributes.find(" as stored") == std::string::npos) {
    desc.as_stored = desc.smooth = false;
    desc.rotation = {};
  }
  INTAGLIO_ASSIGN(LinearWeights weights, plan_linear(context_, desc));
  if (!fits(weights, *record, has_bias)) return std::nullopt;
  const auto run = [&](PackedPart part) { return store_->bytes(record->runs[part]); };
  if (context_.gpu == nullptr) {
    weights.borrowed = run(kPackedRows).data();
  } else {
    INTAGLIO_ASSIGN(weights.packed, to_device(context_, run(kPackedRows)));
  }
  INTAGLIO_ASSIGN(weights.scales, to_device(context_, run(kPackedScales)));
  INTAGLIO_ASSIGN(weights.bias, to_device(context_, run(kPackedBias)));
  INTAGLIO_ASSIGN(weights.smooth, to_device(context_, run(kPackedSmooth)));
  if (!adapters_.empty()) {
    INTAGLIO_ASSIGN(weights.side, adapters_.side_branch(context_, weights, {names, module.rows},
                                                        side_dtype(weights, selection_)));
  }
  return weights;
}

Status PackedModules::to_store(const LinearModule& module, LinearWeights& weights) {
  if (weights.packed.size() == 0) return {};  // used as it lies
  PackedWriter::Item item{.name = record_name(full_names(module)),
                          .attributes = packed_attributes(weights),
                          .parts = {},
                          .in_use = context_.gpu == nullptr};
  INTAGLIO_ASSIGN(item.parts[kPackedScales], to_host(context_, weights.scales));
  INTAGLIO_ASSIGN(item.parts[kPackedBias], to_host(context_, weights.bias));
  INTAGLIO_ASSIGN(item.parts[kPackedSmooth], to_host(context_, weights.smooth));
  if (item.in_use) {
    weights.borrowed = weights.packed.data();
    item.parts[kPackedRows] = std::move(weights.packed);
  } else {
    INTAGLIO_ASSIGN(item.parts[kPackedRows], to_host(context_, weights.packed));
  }
  store_->writer()->add(std::move(item));
  return {};
}

std::shared_ptr<const void> PackedModules::finish(std::shared_ptr<const void> source) {
  using Held = std::pair<std::shared_ptr<const void>, std::shared_ptr<const PackedStore>>;
  if (store_ == nullptr) return source;
  if (store_->writer() != nullptr) store_->writer()->finish();
  return std::make_shared<Held>(std::move(source), store_);
}

}  // namespace intaglio
