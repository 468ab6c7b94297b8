// The formats that checkpoints hold linears in: one ordered list, each entry stating its own
// refusal. A reader looks at names, types, shapes and descriptors, all untrusted, and
// says what each linear is; the numbers are read when they are asked for
// (io/formats/stored_weights.h).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/registry.h"
#include "io/formats/tensor_set.h"
#include "quant/stored_linear.h"

namespace intaglio {

// Of one linear, before its numbers are read. Checked: types, shapes, that the rotation fits k.
struct LinearEntry {
  std::string name;  // of the module, without the prefix: its weight is "<name>.weight"
  Encoding encoding = Encoding::kFloat;
  const TensorEntry* values = nullptr;  // [n, k], n and k >= 1
  const TensorEntry* scales = nullptr;  // kInt8Rows: F32 of n elements, or of one for all rows
  Rotation rotation = {};
  bool float_product = false;

  int64_t n() const { return values->view.shape[0]; }
  int64_t k() const { return values->view.shape[1]; }
  StoredForm form() const {
    return {.encoding = encoding, .rotation = rotation, .float_product = float_product};
  }
};

// The tensors beside "<name>.weight" that belong to it in some format.
inline constexpr std::string_view kLinearParts[] = {"weight_scale", "scale_weight", "comfy_quant",
                                                    "input_scale", "scale_input"};

struct CheckpointFormat {
  const char* name;                     // "comfy_int8", "float"
  Refusal (*refuse)(const TensorSet&);  // nullptr: a checkpoint of this format
  // Every linear of the checkpoint, float ones too. kBadFormat or kUnsupported naming file and
  // tensor, what was found and what was expected.
  Expected<std::vector<LinearEntry>> (*linears)(const TensorSet&);
};

// The first that does not refuse reads a checkpoint; the last, of floats alone, refuses none.
std::span<const CheckpointFormat> checkpoint_formats();

// The linears "<name>.weight" [n, k] of F32, F16 and BF16. Tensors of other types are passed over.
std::vector<LinearEntry> float_linears(const TensorSet& tensors);

}  // namespace intaglio
