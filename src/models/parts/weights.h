// Where the tensors of a model come from.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/context.h"
#include "io/checkpoint.h"
#include "io/formats/stored_weights.h"
#include "models/parts/selection.h"
#include "ops/linear.h"

namespace intaglio {

// Names and shapes of the tensors a model needs, in the order they are read.
using TensorShapes = std::vector<std::pair<std::string, Shape>>;

// What a module of a model may be called in checkpoints: the end of its name, whole components, and
// what stands there instead. A '*' in both is the same component, a layer's number. The two may
// also be those of a lone tensor, its leaf among them.
struct ModuleAlias {
  std::string_view module;  // "attention.to_k", "layers.*.mlp.up_proj"
  std::string_view stored;  // "attention.qkv", "blk.*.ffn_up"
  // The module is this one of so many equal runs of the stored one's rows.
  int part = 0, parts = 1;
  // Whether this is what the model's own publishers call it, who have no name for the part.
  bool published = false;
  // Of the stored tensor in place of "weight"; empty: the same. Of vectors.
  std::string_view leaf = {};
  bool flat = false;  // of a lone tensor: stored with one dimension
};

// Whether `end` is the end of `name`, from the begin of a component on.
bool ends_with_components(std::string_view name, std::string_view end);

// `name` with `other` instead of its end `end`, a '*' in both being the same component; nullopt: it
// does not end so.
std::optional<std::string> with_other_end(std::string_view name, std::string_view end,
                                          std::string_view other);

// Every name that a checkpoint may have for the tensor, and for the scales and descriptors of a
// linear beside it.
std::vector<std::string> stored_names(std::string_view name, std::span<const ModuleAlias> aliases);

// Where tensors come from. Views without memory of their own stay valid as long as `keep_alive()`
// is held.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Checks that every tensor is there in its shape; lists all that are not.
  virtual Status check(const TensorShapes& shapes) = 0;
  virtual Expected<Tensor> tensor(const std::string& name, const Shape& shape) = 0;
  // The linear of the module `name`, its weight being `shape`, as it is stored.
  virtual Expected<LoadedLinear> linear(const Context& context, const std::string& name,
                                        const Shape& shape) = 0;
  // The same; where its numbers are quantized, values may lie in the file until they are asked for
  // (StoredLinear::reader).
  virtual Expected<LoadedLinear> deferred_linear(const Context& context, const std::string& name,
                                                 const Shape& shape) {
    return linear(context, name, shape);
  }
  // What `linear` will say of it, and what plans ask for. Of a linear of k inputs that is there.
  virtual StoredForm form(const std::string& name, int64_t k) const = 0;
  // Whether linears stored as floats are so because whoever quantized the others left them out.
  virtual bool is_quantized() const { return false; }
  // Rows of a matrix, as floats one after the other.
  virtual Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
                      float* out) = 0;
  virtual std::shared_ptr<const void> keep_alive() const = 0;
};

// The tensors of a checkpoint, whatever its format, under the names of a model's modules or under
// others that its publishers use.
class CheckpointSource : public TensorSource {
 public:
  // kBadFormat or kUnsupported where the checkpoint's own notes contradict its tensors.
  static Expected<std::shared_ptr<CheckpointSource>> open(
      std::shared_ptr<const Checkpoint> checkpoint, std::span<const ModuleAlias> aliases = {});

  Status check(const TensorShapes& shapes) override;
  Expected<Tensor> tensor(const std::string& name, const Shape& shape) override;
  Expected<LoadedLinear> linear(const Context& context, const std::string& name,
                                const Shape& shape) override;
  Expected<LoadedLinear> deferred_linear(const Context& context, const std::string& name,
                                         const Shape& shape) override;
  StoredForm form(const std::string& name, int64_t k) const override;
  bool is_quantized() const override;
  Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
              float* out) override;
  std::shared_ptr<const void> keep_alive() const override { return stored_; }

  // kShapeMismatch if the checkpoint has a tensor "<prefix><number>." with a number of `count` or
  // more: the config, which has `count` under `key`, is not that of these weights.
  Status refuse_layers_beyond(std::string_view prefix, int64_t count, std::string_view key) const;

 private:
  // A tensor, or some of its rows.
  struct Place {
    std::string name;    // as stored, or as the publishers would have it in floats
    std::string module;  // of it
    int part = 0, parts = 1;
    bool flat = false;  // stored with one dimension
  };

  CheckpointSource(std::shared_ptr<const Checkpoint> checkpoint,
                   std::shared_ptr<const StoredWeights> stored,
                   std::span<const ModuleAlias> aliases)
      : checkpoint_(std::move(checkpoint)), stored_(std::move(stored)), aliases_(aliases) {}
  // Of the tensor "<module>.<leaf>"; its published name where there is none.
  Place place(std::string_view module, std::string_view leaf) const;
  // The linear whose weight the place is; nullptr: none.
  const LinearEntry* linear_at(const Place& place) const;
  // What keeps a tensor from being what the model needs; empty: nothing.
  std::string problem(const std::string& name, const Shape& shape) const;
  Expected<Tensor> part_of(const Place& place) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const StoredWeights> stored_;
  std::span<const ModuleAlias> aliases_;
};

// Random bf16 tensors for benchmarks: normal with deviation 1 / sqrt(columns) for matrices, 1 +
// small noise for vectors. Tensors of the same deviation are windows into one block of noise, each
// at a place of its own: full-size models take little more memory than their largest tensor.
class SyntheticSource : public TensorSource {
 public:
  // `cancel`, if not null, ends `tensor` with kCancelled: a large matrix takes a second to make.
  // `rotation`: linears that it fits are stored as int8 rows turned so.
  explicit SyntheticSource(uint64_t seed, const std::atomic<bool>* cancel = nullptr,
                           Rotation rotation = {})
      : seed_(seed), cancel_(cancel), rotation_(rotation), blocks_(std::make_shared<Blocks>()) {}
  // For a source that outlives the call whose flag it looks at.
  void forget_cancel() { cancel_ = nullptr; }
  Status check(const TensorShapes& shapes) override;
  Expected<Tensor> tensor(const std::string& name, const Shape& shape) override;
  Expected<LoadedLinear> linear(const Context& context, const std::string& name,
                                const Shape& shape) override;
  StoredForm form(const std::string& name, int64_t k) const override;
  Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
              float* out) override;
  std::shared_ptr<const void> keep_alive() const override { return blocks_; }

 private:
  // By the number of columns of a matrix; 0: vectors.
  struct Block {
    int64_t most = 0;      // elements of the largest tensor
    AlignedBuffer values;  // BF16
    AlignedBuffer codes;   // I8, of linears stored so
  };
  using Blocks = std::map<int64_t, Block>;
  static int64_t key_of(const Shape& shape) { return shape.rank >= 2 ? shape[shape.rank - 1] : 0; }

  Expected<Block*> block_of(const std::string& name, const Shape& shape) const;
  std::vector<float> noise(int64_t columns) const;

  uint64_t seed_;
  const std::atomic<bool>* cancel_;
  Rotation rotation_;
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace intaglio
