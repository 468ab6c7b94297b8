// Pictures out of JPEG files.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/status.h"
#include "io/png.h"

namespace intaglio {

bool is_jpeg(std::span<const uint8_t> bytes);
// The pixels of a whole file, turned as its EXIF orientation says. Errors begin with `name`:
// kBadFormat, also above `most_pixels`, before memory is taken, and for one that is cut off.
Expected<RgbaImage> decode_jpeg(std::span<const uint8_t> bytes, std::string_view name,
                                int64_t most_pixels);
// 1 to 8, as EXIF counts them, out of the body of an APP1 segment; 1 where it says nothing.
int exif_orientation(std::span<const uint8_t> segment);

}  // namespace intaglio
