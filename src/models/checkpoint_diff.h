// How far the weights of one checkpoint are from those of another, tensor by tensor, whatever the
// formats of both: quantized ones are compared as the floats they stand for, rotations undone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "io/formats/stored_weights.h"

namespace intaglio {

// Sums over some values.
struct SquaredError {
  int64_t values = 0;
  double difference = 0.0, norm = 0.0;  // of (other - reference)^2, of reference^2

  // As relative_error (core/relative_error.h): sqrt(difference / norm), sqrt(difference) where the
  // reference is all zeros, infinite if a value is a NaN.
  double relative() const;
  void add(const SquaredError& more);
};

struct TensorDifference {
  std::string name;  // the model's own: "layers.0.attention.to_q.weight"
  bool is_linear = false;
  SquaredError error;
};

// Lists of names are sorted.
struct CheckpointDifference {
  std::vector<TensorDifference> tensors;  // the largest relative error first, equal ones by name
  std::vector<std::string> only_reference, only_other;
  struct NotCompared {
    std::string name, why;
  };
  std::vector<NotCompared> not_compared;  // both have it, in other shapes or not as floats
  SquaredError linears, others;
};

// Names meet as the known models' modules are called, so a fused qkv is compared with the q, k and
// v of the other; those of no known model by themselves. Some rows of both at a time are in memory,
// all threads of the context work on them; sums are the same for any number of threads.
// `progress(done, all)`: in tensors. kBadFormat for numbers that are not finite where a linear
// takes none; kIo; kCancelled.
Expected<CheckpointDifference> diff_checkpoints(
    const Context& context, const StoredWeights& reference, const StoredWeights& other,
    const std::function<void(int64_t, int64_t)>& progress);

}  // namespace intaglio
