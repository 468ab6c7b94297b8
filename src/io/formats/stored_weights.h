// The weights of a checkpoint in whatever format they were written: which linears there are and
// what each is, and their numbers when they are asked for.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "io/checkpoint.h"
#include "io/formats/formats.h"

namespace intaglio {

// Output rows [first, first + count), and the first `k` columns: all of them, or without what pads
// them (LinearEntry::holds).
struct LinearPart {
  int64_t first = 0, count = 0, k = 0;
};

// Who looks for an Inf or a NaN among floats: the reader, or the caller, who finds them in what he
// makes of these and asks the reader then, which names the tensor.
enum class FiniteCheck : uint8_t { kHere, kCaller };

// A linear and the memory that its views lie in, as far as it is its own.
struct LoadedLinear {
  StoredLinear linear;
  AlignedBuffer values, scales, smooth;
  std::shared_ptr<const RowReader> reader;
};

// Names are those in the file, without ComfyUI's prefix: which of them a model's module is, fused
// or split, the model knows. Thread-safe.
class StoredWeights {
 public:
  // Chooses the format (INTAGLIO_TRACE=dispatch says which, and why not the others) and checks
  // every linear's types, shapes and descriptor.
  static Expected<std::shared_ptr<const StoredWeights>> open(
      std::shared_ptr<const Checkpoint> checkpoint);
  // `quantization`: what lies beside the file, as Checkpoint's.
  static Expected<std::shared_ptr<const StoredWeights>> open(std::shared_ptr<const TensorFile> file,
                                                             std::string quantization = {});

  const char* format() const { return format_; }
  const TensorSet& tensors() const { return tensors_; }
  // By name: "layers.0.attention.o".
  const std::map<std::string, LinearEntry, std::less<>>& linears() const { return linears_; }
  const LinearEntry* find_linear(std::string_view name) const;  // nullptr if absent
  bool is_quantized() const;  // whether any linear is stored in fewer bits than floats have

  // Reads a linear. kNotFound; kBadFormat naming it if a scale is NaN, infinite or negative, or a
  // float of a weight, as stored or as decoded, is not finite; kIo. Views of memory not its own
  // last as long as the file given to `open`. `context` may be null: its threads decode and look at
  // the numbers.
  Expected<LoadedLinear> linear(std::string_view name, const Context* context = nullptr) const;
  // A part of it.
  Expected<LoadedLinear> linear(std::string_view name, const Context* context,
                                const LinearPart& part,
                                FiniteCheck check = FiniteCheck::kHere) const;
  // Reads any other tensor: biases, norms, embeddings; F32 where it is stored in fewer bits than
  // floats have. kNotFound; kUnsupported for the numbers of an int8 linear.
  Expected<Tensor> tensor(std::string_view name) const;
  // Rows of the matrix "<name>.weight" and their first `k` columns (LinearPart), as floats one after
  // the other.
  Status rows(std::string_view name, int64_t k, std::span<const int64_t> which, float* out) const;

 private:
  static Expected<std::shared_ptr<const StoredWeights>> read(std::shared_ptr<const void> keep,
                                                             TensorSet tensors);

  std::shared_ptr<const void> keep_;
  TensorSet tensors_;
  const char* format_ = nullptr;
  std::map<std::string, LinearEntry, std::less<>> linears_;
};

}  // namespace intaglio
