#include "io/decode_picture.h"

#include <webp/decode.h>

#include <cstring>

#include "io/jpeg.h"

namespace intaglio {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 26;

bool is_webp(std::span<const uint8_t> bytes) {
  return bytes.size() >= 12 && std::memcmp(bytes.data(), "RIFF", 4) == 0 &&
         std::memcmp(bytes.data() + 8, "WEBP", 4) == 0;
}

Expected<RgbaImage> decode_webp(std::span<const uint8_t> bytes, std::string_view name) {
  WebPBitstreamFeatures features{};
  if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK ||
      features.width < 1 || features.height < 1)
    return make_error(ErrorCode::kBadFormat, "{}: the head of the WebP file is broken", name);
  if (features.has_animation != 0)
    return make_error(ErrorCode::kBadFormat, "{}: found an animation, expected one picture", name);
  RgbaImage image{features.width, features.height, {}};
  if (image.width > kMostPixels / image.height)
    return make_error(ErrorCode::kBadFormat, "{}: {}x{} pixels, at most {} expected", name,
                      image.width, image.height, kMostPixels);
  image.pixels.resize(static_cast<size_t>(image.width * image.height * 4));
  if (WebPDecodeRGBAInto(bytes.data(), bytes.size(), image.pixels.data(), image.pixels.size(),
                         features.width * 4) == nullptr)
    return make_error(ErrorCode::kBadFormat, "{}: the WebP file is broken or cut off", name);
  return image;
}

}  // namespace

Expected<RgbaImage> decode_rgba_picture(std::span<const uint8_t> bytes, std::string_view name) {
  if (is_png(bytes)) return decode_png(bytes, name, kMostPixels);
  if (is_jpeg(bytes)) return decode_jpeg(bytes, name, kMostPixels);
  if (is_webp(bytes)) return decode_webp(bytes, name);
  return make_error(ErrorCode::kBadFormat, "{}: expected a PNG, JPEG or WebP picture", name);
}

RgbImage on_white(const RgbaImage& image) {
  RgbImage out{image.width, image.height, {}};
  const size_t count = image.pixels.size() / 4;
  out.pixels.resize(count * 3);
  for (size_t i = 0; i < count; ++i) {
    const int alpha = image.pixels[i * 4 + 3];
    for (size_t c = 0; c < 3; ++c)
      out.pixels[i * 3 + c] =
          static_cast<uint8_t>((image.pixels[i * 4 + c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return out;
}

Expected<RgbImage> decode_picture(std::span<const uint8_t> bytes, std::string_view name) {
  INTAGLIO_ASSIGN(const RgbaImage image, decode_rgba_picture(bytes, name));
  return on_white(image);
}

}  // namespace intaglio
