// The formats that checkpoints hold linears in: one ordered list, each entry stating its own
// refusal. A reader looks at names, types, shapes and descriptors, all untrusted, and
// says what each linear is; the numbers are read when they are asked for
// (io/formats/stored_weights.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/registry.h"
#include "io/formats/linear_decoder.h"
#include "io/formats/tensor_set.h"
#include "quant/stored_linear.h"

namespace intaglio {

// Of one linear, before its numbers are read. Checked: types, shapes, that the rotation fits k.
struct LinearEntry {
  std::string name;  // of the module, without the prefix: a model's weight is "<name>.weight"
  Encoding encoding = Encoding::kFloat;
  int64_t n = 0, k = 0;  // >= 1
  // What holds its numbers, for messages too. Without a decoder they are taken as they lie there:
  // [n, k] of F32, F16 or BF16, or of I8.
  const TensorEntry* values = nullptr;
  // kInt8Rows: floats, n of them or one for all rows; divided by `scale_divisor`.
  const TensorEntry* scales = nullptr;
  float scale_divisor = 1.0f;
  Rotation rotation = {};  // of kInt8Rows; a decoder of floats has turned its rows back
  // kInt8Rows: floats [k] that the columns of x are multiplied by, or nullptr. A decoder of floats
  // has multiplied W by them.
  const TensorEntry* input_scale = nullptr;
  bool float_product = false;
  // At most one, that of the encoding; nullptr: taken as stored.
  std::shared_ptr<const LinearDecoder> decoder = {};
  std::shared_ptr<const Int8Decoder> int8_decoder = {};
  // With a decoder of floats: n and k are multiples of it, and a model's own may be smaller by less
  // than it. What is beyond is nothing.
  int64_t padding = 1;

  // Whether a model's weight [rows, columns] is this one.
  bool holds(const Shape& shape) const {
    const auto fits = [&](int64_t own, int64_t stored) {
      return own >= 1 && own <= stored && stored - own < padding;
    };
    return shape.rank == 2 && fits(shape[0], n) && fits(shape[1], k);
  }
  // Whether it is stored in fewer bits than floats have.
  bool is_quantized() const { return encoding != Encoding::kFloat || decoder != nullptr; }
  StoredForm form() const {
    return {.encoding = encoding,
            .rotation = rotation,
            .smooth = input_scale != nullptr,
            .float_product = float_product,
            .decoded = decoder != nullptr};
  }
};

struct CheckpointFormat {
  const char* name;                     // "comfy", "float"
  Refusal (*refuse)(const TensorSet&);  // nullptr: a checkpoint of this format
  // Every linear of the checkpoint, float ones too. kBadFormat or kUnsupported naming file and
  // tensor, what was found and what was expected.
  Expected<std::vector<LinearEntry>> (*linears)(const TensorSet&);
  // What the format puts beside "<name>.weight", or in its place: "weight_scale".
  std::span<const std::string_view> parts = {};
  // Tensors that say something of the whole checkpoint: "scaled_fp8".
  std::span<const std::string_view> markers = {};
};

// The first that does not refuse reads a checkpoint; the last, of floats alone, refuses none.
std::span<const CheckpointFormat> checkpoint_formats();

// Every format's parts and markers.
std::vector<std::string_view> linear_parts();
std::vector<std::string_view> checkpoint_markers();

// The linears "<name>.weight" [n, k] of F32, F16 and BF16. Tensors of other types are passed over.
std::vector<LinearEntry> float_linears(const TensorSet& tensors);

}  // namespace intaglio
