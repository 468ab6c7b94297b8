// Pictures as PNG files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace intaglio {

struct RgbImage {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
};

struct RgbaImage {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, 4]; alpha 0 is transparent
};

// keyword (1-79 Latin-1 characters) and UTF-8 text; Latin-1 text goes to tEXt, the rest to iTXt.
using PngText = std::vector<std::pair<std::string, std::string>>;

// Encodes in memory, 8-bit RGB. Errors: kInvalidArgument (sizes), kInternal (libpng).
Expected<std::vector<uint8_t>> encode_png(const RgbImage& image, const PngText& text);
// Writes atomically.
Status write_png(const std::filesystem::path& path, const RgbImage& image, const PngText& text);
// Reads an 8-bit picture back as RGB with its text chunks. At most 1 << 28 pixels.
Expected<std::pair<RgbImage, PngText>> read_png(const std::filesystem::path& path);

// Whether it begins as PNG files do.
bool is_png(std::span<const uint8_t> bytes);
// The pixels of a whole file, in 8 bits. Errors begin with `name`: kBadFormat, also above
// `most_pixels`, before memory is taken.
Expected<RgbaImage> decode_png(std::span<const uint8_t> bytes, std::string_view name,
                               int64_t most_pixels);

}  // namespace intaglio
