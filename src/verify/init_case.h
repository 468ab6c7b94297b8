// What a case of `verify` begins from.
#pragma once

#include <optional>

#include "core/status.h"
#include "io/json_config.h"
#include "io/safetensors.h"
#include "models/init_picture.h"

namespace intaglio {

// "init_image" U8 [height, width, 3] and, where it has one, "mask" U8 [height, width], with the
// note's "strength"; nullopt: neither. kBadFormat for other tensors of these names.
Expected<std::optional<InitPicture>> read_init_picture(const SafetensorsFile& file,
                                                       const JsonConfig& note);

}  // namespace intaglio
