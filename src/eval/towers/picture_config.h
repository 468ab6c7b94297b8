// How pictures are prepared, as preprocessor_config.json says it.
#pragma once

#include <filesystem>

#include "core/status.h"
#include "eval/towers/picture_input.h"

namespace intaglio::towers {

// What the file says over `rule`, whose `crop` it must agree with; a file that is not there says
// nothing. kUnsupported for another filter than the bicubic one, or steps left out.
Status read_picture_rule(const std::filesystem::path& file, PictureRule& rule);

}  // namespace intaglio::towers
