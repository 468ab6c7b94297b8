// Pictures in the formats that clients ask for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio::server {

enum class PictureFormat { kPng, kJpeg, kWebp };

std::optional<PictureFormat> picture_format(std::string_view name);  // "png", "jpeg", "webp"
std::string_view picture_format_name(PictureFormat format);

// `png`, 8 bits a channel, as a file of `format`; a PNG stays as it is. `quality`: 0 to 100, of
// which 100 is no loss for WebP and the least for JPEG. kBadFormat: no PNG; kInternal: the encoder.
Expected<std::string> encode_picture(std::string_view png, PictureFormat format, int quality);

}  // namespace intaglio::server
