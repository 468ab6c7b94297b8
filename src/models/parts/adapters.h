// Adapters on a model: which of a file's tensors are whose, and what becomes of them. Those of low
// rank run beside their linear (ops/side_branch.h), its weights stay as they are stored; others are
// merged into the weights in floats while these are read.
//
// A file's names are a model's own or those of its aliases: an adapter of a fused qkv gives each of
// q, k and v its rows, and adapters of q, k and v meet in the linear that runs all three.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "io/formats/lora.h"
#include "models/parts/weights.h"
#include "ops/side_branch.h"

namespace intaglio {

struct AdapterUse {
  std::shared_ptr<const AdapterFile> file;
  float strength = 1.0f;  // 0: as if it were not there

  bool operator==(const AdapterUse& other) const {
    return strength == other.strength && (file == other.file || file->is_same(*other.file));
  }
};

// What becomes of adapters of low rank: a branch beside the linear, where no other one is merged
// into its weight, or what becomes of all others.
enum class LowRank { kBeside, kMerged };

// A linear's parts that a branch is made of: names without ".weight", and their outputs.
struct AdaptedLinear {
  std::span<const std::string> names;
  std::span<const int64_t> rows;
};

class AdapterMerge;

class Adapters {
 public:
  // What a file has for a module: all of its rows, or `n` of them from `first` on.
  struct Found {
    const AdapterUse* use = nullptr;
    const AdapterModule* module = nullptr;
    int64_t first = 0;
    int64_t parts = 1;  // modules like this one that it is for
  };

  Adapters() = default;
  // `part`: "transformer" or "unconditional_transformer". Aliases outlive it.
  Adapters(std::span<const AdapterUse> uses, std::string_view part,
           std::span<const ModuleAlias> aliases, LowRank low_rank = LowRank::kBeside);

  bool empty() const { return uses_.empty(); }
  // In the order of the uses. `n`: outputs of the module.
  std::vector<Found> find(std::string_view module, int64_t n) const;

  // Of a module whose weight is stored as `stored`: what it will be once it is read.
  StoredForm form(std::string_view module, StoredForm stored) const;
  // Merges what is not of low rank, and all before and after it, in the order of the uses. Floats
  // of its own then. kBadFormat if an adapter's numbers are not finite, or the sums.
  Status merge(const Context& context, std::string_view module, LoadedLinear& weight) const;
  // All that adapters make of the weight of a module, those of low rank too.
  Expected<AdapterMerge> read_merge(std::string_view module, int64_t n) const;
  // Adds to a bias "<module>.bias" or to a vector "<module>.weight"; to the bias also those of low
  // rank whose factors are merged.
  Status add_to(const std::string& name, Tensor& tensor) const;
  // Whether a module's weight is merged with any.
  bool merges(std::string_view module) const;
  // Whether `other` makes of the module's weight and bias, branches aside, what these make of them.
  bool merges_as(const Adapters& other, std::string_view module) const;

  // Ranks of the branch beside a linear; 0: none.
  int64_t side_ranks(const AdaptedLinear& linear) const;
  bool side_has_bias(const AdaptedLinear& linear) const;
  // The branch; null: none.
  Expected<std::shared_ptr<const SideBranch>> side_branch(const Context& context,
                                                          const LinearWeights& weights,
                                                          const AdaptedLinear& linear,
                                                          DType dtype) const;

 private:
  // Rows [from, from + count) of an adapter for outputs [first, first + count) of a linear.
  struct Place {
    const AdapterUse* use = nullptr;
    const AdapterModule* module = nullptr;
    int64_t from = 0, first = 0, count = 0;
  };
  void find_of(const AdapterUse& use, std::string_view module, int64_t n,
               std::vector<Found>& found) const;
  std::vector<Found> merged_of(std::string_view module) const;
  std::vector<Place> side_places(const AdaptedLinear& linear) const;

  std::vector<AdapterUse> uses_;
  std::string_view part_;
  std::span<const ModuleAlias> aliases_;
  LowRank low_rank_ = LowRank::kBeside;
};

// The numbers of a module's adapters, and what they make of its rows.
class AdapterMerge {
 public:
  bool empty() const { return parts_.empty(); }
  // Row `row` of the weight, in place. `work`: 3 k floats. Whether the result is finite.
  bool merge_row(int64_t row, std::span<float> w, float* work) const;
  // kBadFormat naming the first adapter's file.
  tl::unexpected<Error> not_finite(std::string_view module) const;

 private:
  friend class Adapters;
  struct Part {
    Adapters::Found found;
    AdapterNumbers numbers;
  };
  std::vector<Part> parts_;
};

// What of the files fits a model, whose modules it is shown.
class AdapterMatch {
 public:
  explicit AdapterMatch(Adapters adapters) : adapters_(std::move(adapters)) {}
  // kShapeMismatch, kBadFormat or kUnsupported naming file and tensor, what was found and what was
  // expected.
  Status linear(const std::string& module, const Shape& shape, bool has_bias);
  Status vector(const std::string& name, const Shape& shape);
  const std::set<const TensorEntry*>& tensors() const { return tensors_; }

 private:
  Adapters adapters_;
  std::set<const TensorEntry*> tensors_;
};

}  // namespace intaglio
