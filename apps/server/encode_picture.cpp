#include "server/encode_picture.h"

#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

#include <csetjmp>
#include <cstdint>
#include <cstdio>  // before jpeglib.h, which needs it
#include <cstdlib>
#include <memory>
#include <vector>

namespace intaglio::server {
namespace {

constexpr int kBestQuality = 100;

struct Pixels {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

Expected<Pixels> decode_png(std::string_view bytes) {
  constexpr uint32_t kMaxSide = 1 << 14;
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0)
    return make_error(ErrorCode::kBadFormat, "the picture is no PNG: {}", image.message);
  if (image.width > kMaxSide || image.height > kMaxSide) {
    png_image_free(&image);
    return make_error(ErrorCode::kBadFormat, "the picture is larger than {} pixels", kMaxSide);
  }
  image.format = PNG_FORMAT_RGB;
  Pixels pixels{static_cast<int>(image.width), static_cast<int>(image.height),
                std::vector<uint8_t>(PNG_IMAGE_SIZE(image))};
  if (png_image_finish_read(&image, nullptr, pixels.rgb.data(), 0, nullptr) == 0)
    return make_error(ErrorCode::kBadFormat, "the picture cannot be read: {}", image.message);
  return pixels;
}

struct JpegError {
  jpeg_error_mgr base;
  std::jmp_buf jump;
};

// No object with a destructor lives between setjmp and a jump.
bool compress_jpeg(const Pixels& pixels, int quality, unsigned char** data, unsigned long* size) {
  jpeg_compress_struct state{};
  JpegError error{};
  state.err = jpeg_std_error(&error.base);
  error.base.error_exit = [](j_common_ptr common) {
    std::longjmp(reinterpret_cast<JpegError*>(common->err)->jump, 1);
  };
  if (setjmp(error.jump) != 0) {
    jpeg_destroy_compress(&state);
    return false;
  }
  jpeg_create_compress(&state);
  jpeg_mem_dest(&state, data, size);
  state.image_width = static_cast<JDIMENSION>(pixels.width);
  state.image_height = static_cast<JDIMENSION>(pixels.height);
  state.input_components = 3;
  state.in_color_space = JCS_RGB;
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, quality, TRUE);
  jpeg_start_compress(&state, TRUE);
  while (state.next_scanline < state.image_height) {
    const size_t row = size_t{state.next_scanline} * static_cast<size_t>(pixels.width) * 3;
    JSAMPROW line = const_cast<JSAMPROW>(pixels.rgb.data() + row);
    jpeg_write_scanlines(&state, &line, 1);
  }
  jpeg_finish_compress(&state);
  jpeg_destroy_compress(&state);
  return true;
}

Expected<std::string> encode_jpeg(const Pixels& pixels, int quality) {
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const bool done = compress_jpeg(pixels, quality, &data, &size);
  const std::unique_ptr<unsigned char, decltype(&std::free)> owner(data, &std::free);
  if (!done) return make_error(ErrorCode::kInternal, "the picture cannot be written as JPEG");
  return std::string(reinterpret_cast<const char*>(data), size);
}

Expected<std::string> encode_webp(const Pixels& pixels, int quality) {
  uint8_t* data = nullptr;
  const int stride = pixels.width * 3;
  const size_t size =
      quality == kBestQuality
          ? WebPEncodeLosslessRGB(pixels.rgb.data(), pixels.width, pixels.height, stride, &data)
          : WebPEncodeRGB(pixels.rgb.data(), pixels.width, pixels.height, stride,
                          static_cast<float>(quality), &data);
  const std::unique_ptr<uint8_t, decltype(&WebPFree)> owner(data, &WebPFree);
  if (size == 0) return make_error(ErrorCode::kInternal, "the picture cannot be written as WebP");
  return std::string(reinterpret_cast<const char*>(data), size);
}

}  // namespace

std::optional<PictureFormat> picture_format(std::string_view name) {
  for (const PictureFormat format :
       {PictureFormat::kPng, PictureFormat::kJpeg, PictureFormat::kWebp}) {
    if (picture_format_name(format) == name) return format;
  }
  return std::nullopt;
}

std::string_view picture_format_name(PictureFormat format) {
  switch (format) {
    case PictureFormat::kPng:
      return "png";
    case PictureFormat::kJpeg:
      return "jpeg";
    case PictureFormat::kWebp:
      return "webp";
  }
  return "png";
}

Expected<std::string> encode_picture(std::string_view png, PictureFormat format, int quality) {
  if (format == PictureFormat::kPng) return std::string(png);
  INTAGLIO_ASSIGN(const Pixels pixels, decode_png(png));
  return format == PictureFormat::kJpeg ? encode_jpeg(pixels, quality)
                                        : encode_webp(pixels, quality);
}

}  // namespace intaglio::server
