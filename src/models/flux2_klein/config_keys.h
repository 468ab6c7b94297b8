// Every key of the configs of a FLUX.2 klein checkpoint, and what it means here.
#pragma once

#include "models/parts/config_notes.h"

namespace intaglio::flux2_klein {

const ConfigTable& model_index_keys();
const ConfigTable& transformer_keys();

}  // namespace intaglio::flux2_klein
