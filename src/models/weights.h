// Reading a model's modules from a source of tensors: linears prepared for their kernels, small vectors as float.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/context.h"
#include "io/checkpoint.h"
#include "ops/linear.h"
#include "quant/precision.h"

namespace intaglio {

// Names and shapes of the tensors a model needs, in the order they are read.
using TensorShapes = std::vector<std::pair<std::string, Shape>>;

// Where tensors come from. The views stay valid as long as `keep_alive()` is held.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Checks that every tensor is there in its shape; lists all that are not.
  virtual Status check(const TensorShapes& shapes) = 0;
  virtual Expected<TensorView> tensor(const std::string& name, const Shape& shape) = 0;
  virtual std::shared_ptr<const void> keep_alive() const = 0;
};

// The tensors of a checkpoint.
class CheckpointSource : public TensorSource {
 public:
  explicit CheckpointSource(std::shared_ptr<const Checkpoint> checkpoint)
      : checkpoint_(std::move(checkpoint)), reader_(checkpoint_) {}
  Status check(const TensorShapes& shapes) override;
  Expected<TensorView> tensor(const std::string& name, const Shape& shape) override;
  std::shared_ptr<const void> keep_alive() const override { return checkpoint_; }
  std::vector<std::string> unused() const { return reader_.unused(); }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  WeightReader reader_;
};

// Random bf16 tensors for benchmarks: normal with deviation 1 / sqrt(columns) for matrices, 1 + small noise for vectors.
class SyntheticSource : public TensorSource {
 public:
  explicit SyntheticSource(uint64_t seed)
      : seed_(seed), buffers_(std::make_shared<std::vector<AlignedBuffer>>()) {}
  Status check(const TensorShapes& shapes) override;
  Expected<TensorView> tensor(const std::string& name, const Shape& shape) override;
  std::shared_ptr<const void> keep_alive() const override { return buffers_; }

 private:
  uint64_t seed_;
  std::shared_ptr<std::vector<AlignedBuffer>> buffers_;
};

// Reads modules under `prefix`.
struct ModuleLoader {
  const Context& context;
  TensorSource& source;
  const LayerSelection& selection;
  std::string prefix = "";

  // Linears of the same input laid side by side: `names[i]` has `rows[i]` outputs; with `bias`, each has "<name>.bias".
  Expected<LinearWeights> linear(const std::vector<std::string>& names,
                                 const std::vector<int64_t>& rows, int64_t k, bool bias);
  // silu(gate(x)) * up(x) with `rows` outputs; the kernels may pad them (LinearWeights::out_cols).
  Expected<LinearWeights> swiglu(const std::string& gate, const std::string& up, int64_t rows,
                                 int64_t k);
  // One linear whose input was padded from k to padded_k columns.
  Expected<LinearWeights> linear_padded(const std::string& name, int64_t rows, int64_t k,
                                        int64_t padded_k);
  Expected<std::vector<float>> vector(const std::string& name, const Shape& shape);
};

}  // namespace intaglio
