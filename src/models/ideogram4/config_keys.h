// Every key of the configs of an Ideogram 4 checkpoint, and what it means here.
#pragma once

#include "models/parts/config_notes.h"

namespace intaglio::ideogram4 {

const ConfigTable& model_index_keys();
const ConfigTable& scheduler_keys();
const ConfigTable& transformer_keys();

}  // namespace intaglio::ideogram4
