// What the original files and ComfyUI's call the modules of a Krea 2 transformer.
#pragma once

#include <span>

#include "models/parts/weights.h"

namespace intaglio::krea2 {

std::span<const ModuleAlias> original_names();

}  // namespace intaglio::krea2
