// One module of a checkpoint as the readers of formats look at it: the tensors under its name, and
// their checks.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/formats/formats.h"

namespace intaglio {

class Layer {
 public:
  Layer(const TensorSet& tensors, std::string name) : tensors_(&tensors), name_(std::move(name)) {}

  const TensorSet& tensors() const { return *tensors_; }
  const std::string& name() const { return name_; }
  // "<file>: <name>" or "<file>: <name>.<part>", for messages.
  std::string where(std::string_view part = {}) const;

  // The tensor "<name>.<part>"; nullptr if absent.
  const TensorEntry* find(std::string_view part) const;
  // kBadFormat unless it is there.
  Expected<const TensorEntry*> get(std::string_view part) const;
  // kBadFormat unless it is there, of one of the types and one of the shapes.
  Expected<const TensorEntry*> get(std::string_view part, std::initializer_list<DType> types,
                                   std::initializer_list<Shape> shapes) const;
  // The same of a tensor that may be absent: nullptr.
  Expected<const TensorEntry*> find(std::string_view part, std::initializer_list<DType> types,
                                    std::initializer_list<Shape> shapes) const;
  // kUnsupported unless the tensor is [n, k] with n and k above 0.
  Status check_matrix(const TensorEntry& entry) const;
  // kUnsupported if anything but `known`, "weight" and "bias" stands beside the weight: it may
  // change what it means. `what`: "an int8 weight".
  Status refuse_other_parts(std::span<const std::string_view> known, std::string_view what) const;

 private:
  const TensorSet* tensors_;
  std::string name_;
};

inline constexpr std::initializer_list<DType> kWeightFloats{DType::kF32, DType::kF16, DType::kBF16};

// The modules that have a tensor "<module>.<part>" of which `is_one`, if not null, holds; sorted.
std::vector<Layer> layers_with(const TensorSet& tensors, std::string_view part,
                               bool (*is_one)(const TensorEntry&) = nullptr);

// The linears of floats and of `layers`, each as `linear(layer)` says (Expected<LinearEntry>).
template <typename Linear>
Expected<std::vector<LinearEntry>> linears_of(const TensorSet& tensors,
                                              const std::vector<Layer>& layers, Linear&& linear) {
  std::vector<LinearEntry> linears = float_linears(tensors);
  for (const Layer& layer : layers) {
    INTAGLIO_ASSIGN(LinearEntry entry, linear(layer));
    linears.push_back(std::move(entry));
  }
  return linears;
}

// Elements [first, first + count) of a tensor of F32, F16, BF16, F8_E4M3 or F8_E5M2 as floats.
Status read_some_floats(const TensorEntry& entry, int64_t first, int64_t count, float* out);
// Bytes [first, first + count) of it, in `out` resized.
Status read_some_bytes(const TensorEntry& entry, int64_t first, int64_t count,
                       std::vector<std::byte>& out);

// The text of a small tensor of U8 [bytes]: a descriptor. kBadFormat for anything else.
Expected<std::string> read_descriptor_text(const TensorSet& tensors, const TensorEntry& entry);

}  // namespace intaglio
