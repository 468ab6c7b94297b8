// Every key of the configs of a Krea 2 checkpoint, and what it means here.
#pragma once

#include "models/parts/config_notes.h"

namespace intaglio::krea2 {

const ConfigTable& model_index_keys();
const ConfigTable& transformer_keys();

}  // namespace intaglio::krea2
