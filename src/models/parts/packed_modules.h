// Weights from the cache where it has them, else from their source, which are given to the cache.
#pragma once

#include <memory>
#include <optional>

#include "io/read_ahead.h"
#include "models/parts/modules.h"
#include "models/parts/packed_cache.h"

namespace intaglio {

// The numbers of every linear of a walk, in its order, as places in files.
ReadAhead read_ahead_of(const TensorSource& source, const PackedKey& key,
                        std::span<const ModuleAlias> aliases);

// As PrepareModules, which does the work where the cache cannot.
class PackedModules : public ModuleVisitor {
 public:
  // `store` may be null.
  PackedModules(const Context& context, TensorSource& source, const LayerSelection& selection,
                PrepareModules::Prepared prepared, Adapters adapters,
                std::shared_ptr<PackedStore> store, ReadAhead ahead)
      : context_(context),
        source_(source),
        selection_(selection),
        prepared_(std::move(prepared)),
        adapters_(std::move(adapters)),
        store_(std::move(store)),
        ahead_(std::move(ahead)),
        inner_(context, source, selection, {}, adapters_) {}

  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  Status raised_vector(const std::string& name, const Shape& shape, AlignedBuffer& raised) override;
  Status host_vector(const std::string& name, const Shape& shape,
                     std::vector<float>& values) override;

  // The walk is over: what was given to the cache is written. Holds what borrowed weights lie in,
  // and `source`, what the source holds alive.
  std::shared_ptr<const void> finish(std::shared_ptr<const void> source);

 private:
  // The source's visitor where this one is in the walk.
  PrepareModules& inner();
  // nullopt: the store has not this linear.
  Expected<std::optional<LinearWeights>> from_store(const LinearModule& module);
  // Gives prepared weights to the store; on a CPU their rows stay in its memory.
  Status to_store(const LinearModule& module, LinearWeights& weights);
  bool is_worth(const LinearModule& module) const;

  const Context& context_;
  TensorSource& source_;
  const LayerSelection& selection_;
  PrepareModules::Prepared prepared_;
  Adapters adapters_;
  std::shared_ptr<PackedStore> store_;
  ReadAhead ahead_;
  size_t linears_ = 0;  // so far
  PrepareModules inner_;
};

}  // namespace intaglio
