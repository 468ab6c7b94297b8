// Which part of which model a checkpoint holds, by the names of its tensors alone: files of other
// programs come without a config.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/formats/tensor_set.h"
#include "models/parts/weights.h"

namespace intaglio {

// Names are without numbers: "layers.*.feed_forward.w1".
struct PartModules {
  std::string part;   // "transformer", "text_encoder"
  std::string model;  // the sizes' name of it: "ideogram4"
  // The linears that int8 is meant for, under the model's own names.
  std::set<std::string> quantized;
  // Of all tensors in that model's sizes, under its own names; a checkpoint's may be others.
  std::map<std::string, Shape> sizes;
  std::span<const ModuleAlias> aliases;
  // Of a text encoder in llama.cpp's names, which have none: what publishers put before theirs.
  std::string prefix = {};
};

// "layers.3.w1" -> "layers.*.w1".
std::string without_numbers(std::string_view name);

// kUnsupported if the tensors are no known model's; says which names are there.
Expected<PartModules> find_part_modules(const TensorSet& tensors);

}  // namespace intaglio
