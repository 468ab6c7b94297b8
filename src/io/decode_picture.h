// Pictures that somebody else has made, as their files' bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/status.h"
#include "io/png.h"

namespace intaglio {

// PNG, JPEG or WebP, told apart by the first bytes, as 8-bit RGB of at most 1 << 26 pixels; what is
// transparent lies on white. Errors begin with `name`: kBadFormat for anything else, and for a file
// that is cut off.
Expected<RgbImage> decode_picture(std::span<const uint8_t> bytes, std::string_view name);
// The same with what is transparent in it.
Expected<RgbaImage> decode_rgba_picture(std::span<const uint8_t> bytes, std::string_view name);
RgbImage on_white(const RgbaImage& image);

}  // namespace intaglio
