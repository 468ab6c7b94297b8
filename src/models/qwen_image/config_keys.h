// Every key of the configs of a Qwen-Image checkpoint, and what it means here.
#pragma once

#include "models/parts/config_notes.h"

namespace intaglio::qwen_image {

const ConfigTable& model_index_keys();
const ConfigTable& transformer_keys();

}  // namespace intaglio::qwen_image
