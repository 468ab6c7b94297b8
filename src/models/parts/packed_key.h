// What prepared weights are made of and for: the name of their file in the cache, and whether they
// are worth one.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "models/parts/modules.h"

namespace intaglio {

// Everything that a linear's prepared weights are to be, but their numbers: kind, sizes as the
// kernels have them, and whose layout.
std::string packed_attributes(const LinearWeights& weights);
// Bytes that a linear's rows and scales have once they are prepared.
size_t packed_row_bytes(const LinearWeights& weights);
size_t packed_scale_bytes(const LinearWeights& weights);

// A walk that writes down all that decides over prepared weights: the modules and how each will be
// computed, which layers stay floats among them, and adapters that are merged. With the identity of
// the weights' files (tensors_identity) that is the key. What code makes of a number cannot be
// written down: the key has a hash of what `make_linear` makes of a small matrix, for every kind of
// linear, so that another layout, another rounding or another processor's kernels have another key.
class PackedKey : public ModuleVisitor {
 public:
  PackedKey(const Context& context, const TensorSource& source, const LayerSelection& selection,
            Adapters adapters)
      : context_(context), source_(source), selection_(selection), adapters_(std::move(adapters)) {}

  Status linear(const LinearModule& module, LinearWeights& weights) override;

  // Of the linears that a file would hold.
  uint64_t bytes() const { return bytes_; }
  // 32 hexadecimal digits. kIo if a file cannot be read; kUnsupported for weights of no file.
  Expected<std::string> key() const;
  // For people: source, precision, device.
  std::map<std::string, std::string> about() const;
  const LayerSelection& selection() const { return selection_; }
  // Names of the modules of every linear, in the order of the walk.
  const std::vector<std::vector<std::string>>& order() const { return order_; }

 private:
  // Of adapters that change a linear's own weight or its bias.
  void note_adapters(const LinearModule& module);
  Expected<std::string> fingerprints() const;

  const Context& context_;
  const TensorSource& source_;
  const LayerSelection& selection_;
  Adapters adapters_;
  std::string text_;
  uint64_t bytes_ = 0;
  std::set<std::pair<LinearKind, GemmEpilogue>> kinds_;
  std::vector<AdapterUse> merged_;
  std::vector<std::vector<std::string>> order_;
};

// Whether preparing a linear costs more than copying it from the file: one that is stored as it
// will lie is not kept.
bool is_worth_packing(const Context& context, const LinearDesc& desc, bool decoded);

// Identity of the files of tensors, and places and types of these: the meaning of their headers.
// kUnsupported for tensors of no file; kIo.
Expected<std::string> tensors_identity(std::span<const TensorEntry* const> tensors);

// The weights behind a source that reads a checkpoint; nullptr: it reads none.
std::shared_ptr<const StoredWeights> stored_weights_of(const TensorSource& source);

}  // namespace intaglio
