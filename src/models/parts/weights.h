// Where the tensors of a model come from.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/context.h"
#include "io/checkpoint.h"
#include "models/parts/selection.h"
#include "ops/linear.h"

namespace intaglio {

// Names and shapes of the tensors a model needs, in the order they are read.
using TensorShapes = std::vector<std::pair<std::string, Shape>>;

// kShapeMismatch if `checkpoint` has a tensor "<prefix><number>." with a number of `count` or more: the config, which has `count` under `key`, is not that of
// these weights.
Status refuse_layers_beyond(const Checkpoint& checkpoint, std::string_view prefix, int64_t count,
                            std::string_view key);

// Where tensors come from. Views without memory of their own stay valid as long as `keep_alive()` is held.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Checks that every tensor is there in its shape; lists all that are not.
  virtual Status check(const TensorShapes& shapes) = 0;
  virtual Expected<Tensor> tensor(const std::string& name, const Shape& shape) = 0;
  // Rows of a matrix, as floats one after the other.
  virtual Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
                      float* out) = 0;
  virtual std::shared_ptr<const void> keep_alive() const = 0;
};

// The tensors of a checkpoint.
class CheckpointSource : public TensorSource {
 public:
  explicit CheckpointSource(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)), reader_(checkpoint_) {}
  Status check(const TensorShapes& shapes) override;
  Expected<Tensor> tensor(const std::string& name, const Shape& shape) override;
  Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
              float* out) override;
  std::shared_ptr<const void> keep_alive() const override { return checkpoint_; }
  std::vector<std::string> unused() const { return reader_.unused(); }

 private:
  Expected<const TensorEntry*> entry(const std::string& name, const Shape& shape);

  std::shared_ptr<const Checkpoint> checkpoint_;
  WeightReader reader_;
};

// Random bf16 tensors for benchmarks: normal with deviation 1 / sqrt(columns) for matrices, 1 + small noise for vectors.
// Tensors of the same deviation are windows into one block of noise, each at a place of its own: full-size models take little more memory than their
// largest tensor.
class SyntheticSource : public TensorSource {
 public:
  // `cancel`, if not null, ends `tensor` with kCancelled: a large matrix takes a second to make.
  explicit SyntheticSource(uint64_t seed, const std::atomic<bool>* cancel = nullptr)
      : seed_(seed), cancel_(cancel), blocks_(std::make_shared<Blocks>()) {}
  // For a source that outlives the call whose flag it looks at.
  void forget_cancel() { cancel_ = nullptr; }
  Status check(const TensorShapes& shapes) override;
  Expected<Tensor> tensor(const std::string& name, const Shape& shape) override;
  Status rows(const std::string& name, const Shape& shape, std::span<const int64_t> which,
              float* out) override;
  std::shared_ptr<const void> keep_alive() const override { return blocks_; }

 private:
  // By the number of columns of a matrix; 0: vectors.
  struct Block {
    int64_t most = 0;  // elements of the largest tensor
    AlignedBuffer values;
  };
  using Blocks = std::map<int64_t, Block>;
  static int64_t key_of(const Shape& shape) { return shape.rank >= 2 ? shape[shape.rank - 1] : 0; }

  uint64_t seed_;
  const std::atomic<bool>* cancel_;
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace intaglio
