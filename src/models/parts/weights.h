// Reading a model's modules from a source of tensors: linears prepared for their kernels, small vectors as float.
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

// Reads modules under `prefix`.
struct ModuleLoader {
  const Context& context;
  TensorSource& source;
  const LayerSelection& selection;
  std::string prefix = "";

  // Linears of the same input laid side by side: `names[i]` has `rows[i]` outputs; with `bias`, each has "<name>.bias".
  // `added_bias` is empty or has a value for every output, added to the bias.
  Expected<LinearWeights> linear(const std::vector<std::string>& names,
                                 const std::vector<int64_t>& rows, int64_t k, bool bias,
                                 std::span<const float> added_bias = {});
  // silu(gate(x)) * up(x) with `rows` outputs; the kernels may pad them (LinearWeights::out_cols).
  Expected<LinearWeights> swiglu(const std::string& gate, const std::string& up, int64_t rows,
                                 int64_t k);
  // One linear whose input was padded from k to padded_k columns.
  Expected<LinearWeights> linear_padded(const std::string& name, int64_t rows, int64_t k,
                                        int64_t padded_k);
  // As floats in memory of the context's device.
  Expected<AlignedBuffer> vector(const std::string& name, const Shape& shape);
  Expected<std::vector<float>> host_vector(const std::string& name, const Shape& shape);
};

}  // namespace intaglio
