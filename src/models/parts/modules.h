// A model names each of its tensors once, in a walk over its modules; visitors say what becomes of
// them: names and shapes (DeclareModules), bytes of a device (CountModules), what a plan must know
// of them (DescribeModules), weights (PrepareModules), an adapter's tensors (FindModules).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/context.h"
#include "models/parts/adapters.h"
#include "models/parts/selection.h"
#include "models/parts/weights.h"
#include "ops/linear.h"

namespace intaglio {

// Where the weights of a linear may lie, by when they are read.
enum class Residence {
  kFixed,  // on the device
  kLayer,  // of a layer: there, or streamed from host memory in every pass
  kOnce    // once a picture: on a GPU, from pinned host memory through the slots
};

// Which tokens are the rows of a product.
enum class LinearRows { kSequence, kImage, kText };  // kSequence: text and image together

// What multiplies each column of a linear's input and nothing else that is read: dividing it and
// multiplying the linear's columns leaves the function as it is (models/smoothing.h).
struct InputScale {
  enum class Of {
    kNothing,
    kVector,  // the tensor `name` [k], e.g. the weight of the norm before
    kRows     // the rows of the linear `name`
  };
  Of of = Of::kNothing;
  std::string name = {};  // without the prefix of its module
};

// What of a block the cost model counts beside its products, each once, with one of them.
struct BlockWork {
  int64_t hidden = 0;                   // inner columns of a feed-forward over the product's rows
  std::optional<LinearRows> attends{};  // rows that attention runs over; nullopt: it runs not
};

// Linears of the same input laid side by side. Weights are "<prefix><name>.weight" [rows, k].
struct LinearModule {
  std::vector<std::string> names;
  std::vector<int64_t> rows;                    // outputs of each
  int64_t k = 0;                                // inputs
  bool bias = false;                            // each has "<prefix><name>.bias" [rows]
  GemmEpilogue epilogue = GemmEpilogue::kNone;  // kSwiglu: two of them, gate then up
  Residence residence = Residence::kFixed;
  int64_t padded_k = 0;  // of an input wider than k, whose other columns are zeros; 0: k
  std::span<const float> added_bias = {};  // a value for every output, or empty
  bool quantized = false;                  // at precisions that quantize; else it is bf16 there
  // Of large products, which benchmarks, tuning and the cost model list: what it is called there
  // and in profiles ("qkv"). Empty: it runs on few rows or few outputs.
  const char* label = "";
  LinearRows tokens = LinearRows::kSequence;
  InputScale input_scale = {};
  // Of one with a label; nullopt: of a gated product that of a whole block over its rows.
  std::optional<BlockWork> work = {};
};

// A linear that is quantized, under full names, and where the model keeps it.
struct NamedLinear {
  std::vector<std::string> names;  // of its parts
  std::vector<int64_t> rows;       // outputs of each
  int64_t k = 0;                   // inputs, unpadded
  InputScale input_scale;          // by its full name
  const LinearWeights* weights = nullptr;
};

// A large product of a pass, and how often the pass runs it over the same rows.
struct ListedLinear {
  std::string name;
  int64_t n = 0, k = 0;  // as the kernels have them, padded
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  LinearRows rows = LinearRows::kSequence;
  int64_t count = 1;
  BlockWork work = {};
  bool once = false;  // a picture, not a pass
};

// A visitor sees the modules in the order of the walk. `weights` and `vector` are the model's own
// members: sizes and kind of `weights` are set by every visitor but DeclareModules, so that what
// follows in the walk may ask for them.
class ModuleVisitor {
 public:
  virtual ~ModuleVisitor() = default;

  virtual Status linear(const LinearModule& module, LinearWeights& weights) = 0;
  // "<prefix><name>" as floats on the device.
  virtual Status vector(const std::string&, const Shape&, AlignedBuffer&) { return {}; }
  // The same plus 1 each: of norms whose files hold what differs from 1.
  virtual Status raised_vector(const std::string& name, const Shape& shape, AlignedBuffer& raised) {
    return vector(name, shape, raised);
  }
  // In host memory, while the model is made; zeros where nobody reads it.
  virtual Status host_vector(const std::string&, const Shape& shape, std::vector<float>& values) {
    values.assign(static_cast<size_t>(shape.count()), 0.0f);
    return {};
  }
  // A matrix of which single rows are read from the file.
  virtual Status table(const std::string&, const Shape&) { return {}; }

  // The modules that follow belong to layer `index`, their names begin with `prefix`.
  virtual void begin_layer(int64_t index, std::string prefix) {
    layer_ = index;
    prefix_ = std::move(prefix);
  }
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

 protected:
  // Full names, without ".weight".
  std::vector<std::string> full_names(const LinearModule& module) const;
  // What it is, read from `source` under `adapters`; null: from floats.
  LinearDesc describe(const LinearModule& module, const LayerSelection& selection,
                      const TensorSource* source, const Adapters& adapters) const;

  int64_t layer_ = -1;
  std::string prefix_;
};

// The tensors a model reads.
class DeclareModules : public ModuleVisitor {
 public:
  const TensorShapes& shapes() const { return shapes_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  Status host_vector(const std::string& name, const Shape& shape,
                     std::vector<float>& values) override;
  Status table(const std::string& name, const Shape& shape) override;

 private:
  TensorShapes shapes_;
};

// Prepared weights of one model, in bytes.
struct ModelWeights {
  uint64_t fixed_bytes = 0;           // always on the device
  std::vector<uint64_t> layer_bytes;  // by layer: these may stream
  std::vector<uint64_t> once_bytes;   // by layer, of Residence::kOnce. Empty on a CPU
  // The largest tensor of a layer on its way in, beside what it becomes.
  uint64_t staging_bytes = 0;

  uint64_t all_layers() const;
  uint64_t largest_layer() const;
  uint64_t largest_once() const;
};

// What the weights of a model take of a GPU's memory. `source`: where they will come from, or null.
class CountModules : public ModuleVisitor {
 public:
  explicit CountModules(const LayerSelection& selection, const TensorSource* source = nullptr,
                        Adapters adapters = {})
      : selection_(selection), source_(source), adapters_(std::move(adapters)) {}
  const ModelWeights& weights() const { return weights_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  void begin_layer(int64_t index, std::string prefix) override;

 private:
  const LayerSelection& selection_;
  const TensorSource* source_;
  Adapters adapters_;
  ModelWeights weights_;
};

// The large products of a pass, the same ones counted, and what of a model is quantized.
class ListModules : public ModuleVisitor {
 public:
  const std::vector<ListedLinear>& linears() const { return linears_; }
  // Full names of all that are quantized.
  const std::vector<std::string>& quantized() const { return quantized_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;

 private:
  std::vector<ListedLinear> linears_;
  std::vector<std::string> quantized_;
};

// The linears that are quantized, by name. Alone among visitors it leaves `weights` as they are: a
// loaded model may be walked.
class NameModules : public ModuleVisitor {
 public:
  const std::vector<NamedLinear>& linears() const { return linears_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;

 private:
  std::vector<NamedLinear> linears_;
};

// Linears without their weights, as `linear_scratch_bytes` needs them. `source`: where these will
// come from, or null.
class DescribeModules : public ModuleVisitor {
 public:
  DescribeModules(const Context& context, const LayerSelection& selection,
                  const TensorSource* source = nullptr, Adapters adapters = {})
      : context_(context), selection_(selection), source_(source), adapters_(std::move(adapters)) {}
  Status linear(const LinearModule& module, LinearWeights& weights) override;

 private:
  const Context& context_;
  const LayerSelection& selection_;
  const TensorSource* source_;
  Adapters adapters_;
};

// Which tensors of adapters are a model's; what does not fit is an error.
class FindModules : public ModuleVisitor {
 public:
  explicit FindModules(AdapterMatch& match) : match_(match) {}
  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  Status host_vector(const std::string& name, const Shape& shape,
                     std::vector<float>& values) override;

 private:
  AdapterMatch& match_;
};

// Whether two sets of adapters differ in branches alone.
class CompareMerged : public ModuleVisitor {
 public:
  CompareMerged(Adapters before, Adapters after)
      : before_(std::move(before)), after_(std::move(after)) {}
  bool same() const { return same_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  Status host_vector(const std::string& name, const Shape& shape,
                     std::vector<float>& values) override;

 private:
  void compare(std::string_view module) { same_ = same_ && after_.merges_as(before_, module); }

  Adapters before_, after_;
  bool same_ = true;
};

// The branches beside prepared linears: made of adapters in place of what was there, or dropped.
class MakeBranches : public ModuleVisitor {
 public:
  MakeBranches(const Context& context, const LayerSelection& selection, Adapters adapters,
               bool drop)
      : context_(context), selection_(selection), adapters_(std::move(adapters)), drop_(drop) {}
  size_t freed() const { return freed_; }
  size_t made() const { return made_; }
  Status linear(const LinearModule& module, LinearWeights& weights) override;

 private:
  const Context& context_;
  const LayerSelection& selection_;
  Adapters adapters_;
  bool drop_;
  size_t freed_ = 0, made_ = 0;
};

// Weights read from a source and prepared for their kernels.
class PrepareModules : public ModuleVisitor {
 public:
  // Called with each linear once it is prepared, before the next is read.
  using Prepared = std::function<Status(Residence, int64_t layer, LinearWeights&)>;

  PrepareModules(const Context& context, TensorSource& source, const LayerSelection& selection,
                 Prepared prepared = {}, Adapters adapters = {})
      : context_(context),
        source_(source),
        selection_(selection),
        prepared_(std::move(prepared)),
        adapters_(std::move(adapters)) {}
  Status linear(const LinearModule& module, LinearWeights& weights) override;
  Status vector(const std::string& name, const Shape& shape, AlignedBuffer& vector) override;
  Status raised_vector(const std::string& name, const Shape& shape, AlignedBuffer& raised) override;
  Status host_vector(const std::string& name, const Shape& shape,
                     std::vector<float>& values) override;

 private:
  Expected<LinearWeights> prepare(const LinearModule& module);

  const Context& context_;
  TensorSource& source_;
  const LayerSelection& selection_;
  Prepared prepared_;
  Adapters adapters_;
};

}  // namespace intaglio
