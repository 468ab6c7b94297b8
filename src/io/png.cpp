#include "io/png.h"

#include <png.h>

#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "core/atomic_file.h"
#include "core/files.h"
#include "core/out_of_memory.h"
#include "io/printable.h"

// libpng reports errors by longjmp. Everything between setjmp and the last libpng call lives in
// functions whose locals need no destructor; vectors and strings belong to their callers.

namespace intaglio {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 28;
constexpr size_t kMaxPngBytes = size_t{1} << 31;
// Deflate cannot expand by more; a picture that claims more pixels than its bytes can hold is
// refused before memory is taken.
constexpr uint64_t kMaxDeflateRatio = 1032;

struct PngError {
  char message[256] = "";
  // libpng goes on without what it had no memory for, e.g. a text.
  bool out_of_memory = false;
};

png_voidp take_memory(png_structp png, png_alloc_size_t size) {
  png_voidp memory = std::malloc(size);
  if (memory == nullptr) static_cast<PngError*>(png_get_mem_ptr(png))->out_of_memory = true;
  return memory;
}

void drop_memory(png_structp, png_voidp memory) { std::free(memory); }

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  std::strncpy(error->message, message, sizeof(error->message) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

// The Latin-1 bytes of UTF-8 text; nullopt if it has other characters. `valid` tells whether it is
// UTF-8 at all.
std::optional<std::string> latin1_from_utf8(std::string_view text, bool* valid) {
  std::string latin1;
  bool fits = true;
  *valid = true;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || i + length > text.size()) {
      *valid = false;
      return std::nullopt;
    }
    uint32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t j = 1; j < length; ++j) {
      const auto next = static_cast<unsigned char>(text[i + j]);
      if ((next & 0xc0u) != 0x80u) {
        *valid = false;
        return std::nullopt;
      }
      code = code << 6 | (next & 0x3fu);
    }
    const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      *valid = false;
      return std::nullopt;
    }
    fits = fits && code <= 0xff;
    if (fits) latin1 += static_cast<char>(code);
    i += length;
  }
  return fits ? std::optional(latin1) : std::nullopt;
}

std::string utf8_from_latin1(std::string_view latin1) {
  std::string text;
  for (const char c : latin1) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xc0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
  return text;
}

// One text chunk in the bytes libpng wants.
struct TextChunk {
  std::string keyword;
  std::string text;
  bool international = false;
};

Expected<TextChunk> make_chunk(const std::string& keyword, const std::string& text) {
  bool valid = false;
  const std::optional<std::string> key = latin1_from_utf8(keyword, &valid);
  bool printable_key = key && !key->empty() && key->size() <= 79 && key->front() != ' ' &&
                       key->back() != ' ' && key->find("  ") == std::string::npos;
  for (const char c : key.value_or("")) {
    const auto code = static_cast<unsigned char>(c);
    printable_key = printable_key && ((code >= 32 && code <= 126) || code >= 161);
  }
  if (!printable_key) {
    return make_error(ErrorCode::kInvalidArgument,
                      "PNG text keyword \"{}\": expected 1 to 79 printable Latin-1 characters "
                      "without outer spaces",
                      printable(keyword));
  }
  std::optional<std::string> latin1 = latin1_from_utf8(text, &valid);
  if (!valid || text.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument,
                      "PNG text \"{}\": expected UTF-8 without zero bytes", *key);
  }
  const bool international = !latin1;
  return TextChunk{*key, international ? text : *std::move(latin1), international};
}

void append_bytes(png_structp png, png_bytep data, png_size_t size) {
  auto* bytes = static_cast<std::vector<uint8_t>*>(png_get_io_ptr(png));
  bool failed = false;
  try {
    bytes->insert(bytes->end(), data, data + size);
  } catch (...) {
    failed = true;
  }
  if (!failed) return;
  static_cast<PngError*>(png_get_error_ptr(png))->out_of_memory = true;
  png_error(png, "out of memory");
}

struct Source {
  const uint8_t* data;
  size_t left;
};

void take_bytes(png_structp png, png_bytep data, png_size_t size) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (size > source->left) png_error(png, "truncated file");
  std::memcpy(data, source->data, size);
  source->data += size;
  source->left -= size;
}

// False if libpng failed; the reason is in the error object.
bool run_encode(png_structp png, png_infop info, const RgbImage& image, png_textp text,
                int text_count) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (text_count > 0) png_set_text(png, info, text, text_count);
  png_write_info(png, info);
  for (int64_t row = 0; row < image.height; ++row) {
    png_write_row(png, image.pixels.data() + row * image.width * 3);
  }
  png_write_end(png, info);
  return true;
}

// Reads the header and sets the conversions to 8-bit RGB, or RGBA of 4 channels.
bool run_read_header(png_structp png, png_infop info, size_t channels) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_info(png, info);
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_gray_to_rgb(png);
  if (channels == 3) {
    png_set_strip_alpha(png);
  } else {
    png_set_add_alpha(png, 0xff, PNG_FILLER_AFTER);
  }
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != channels * png_get_image_width(png, info))
    png_error(png, "not an RGB picture");
  return true;
}

bool run_read_pixels(png_structp png, png_infop end_info, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_read_image(png, rows);
  png_read_end(png, end_info);
  return true;
}

struct WriteStruct {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~WriteStruct() { png_destroy_write_struct(&png, &info); }
};

struct ReadStruct {
  png_structp png = nullptr;
  png_infop info = nullptr, end_info = nullptr;
  ~ReadStruct() { png_destroy_read_struct(&png, &info, &end_info); }
};

void append_text(png_structp png, png_infop info, PngText& result) {
  png_textp text = nullptr;
  int count = 0;
  png_get_text(png, info, &text, &count);
  for (int i = 0; i < count; ++i) {
    const bool international = text[i].compression >= PNG_ITXT_COMPRESSION_NONE;
    const char* body = text[i].text == nullptr ? "" : text[i].text;
    result.emplace_back(utf8_from_latin1(text[i].key),
                        international ? std::string(body) : utf8_from_latin1(body));
  }
}

struct ReadPicture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> pixels;  // [height, width, channels]
  PngText text;
};

Expected<ReadPicture> read_picture(std::span<const uint8_t> bytes, std::string_view name,
                                   size_t channels, int64_t most_pixels) {
  if (!is_png(bytes)) return make_error(ErrorCode::kBadFormat, "{}: not a PNG file", name);
  PngError error;
  Source source{bytes.data(), bytes.size()};
  ReadStruct reader;
  reader.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &error, on_error, on_warning, &error,
                                        take_memory, drop_memory);
  if (reader.png != nullptr) {
    reader.info = png_create_info_struct(reader.png);
    reader.end_info = png_create_info_struct(reader.png);
  }
  if (reader.info == nullptr || reader.end_info == nullptr)
    return make_error(ErrorCode::kOutOfMemory, "{}: out of memory for the decoder", name);
  png_set_read_fn(reader.png, &source, take_bytes);
  png_set_user_limits(reader.png, static_cast<png_uint_32>(kMaxPixels),
                      static_cast<png_uint_32>(kMaxPixels));
  const auto failure = [&]() -> tl::unexpected<Error> {
    if (error.out_of_memory)
      return make_error(ErrorCode::kOutOfMemory, "{}: out of memory for the decoder", name);
    return make_error(ErrorCode::kBadFormat, "{}: {}", name, printable(error.message));
  };
  if (!run_read_header(reader.png, reader.info, channels)) return failure();

  ReadPicture picture{.width = png_get_image_width(reader.png, reader.info),
                      .height = png_get_image_height(reader.png, reader.info),
                      .pixels = {},
                      .text = {}};
  // At least one bit a pixel goes through deflate.
  if (picture.width > most_pixels / picture.height ||
      static_cast<uint64_t>(picture.width * picture.height) / 8 > bytes.size() * kMaxDeflateRatio) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: {}x{} pixels in {} bytes, at most {} pixels expected", name,
                      picture.width, picture.height, bytes.size(), most_pixels);
  }
  const size_t row_bytes = static_cast<size_t>(picture.width) * channels;
  picture.pixels.resize(static_cast<size_t>(picture.height) * row_bytes);
  std::vector<png_bytep> rows(static_cast<size_t>(picture.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = picture.pixels.data() + y * row_bytes;
  if (!run_read_pixels(reader.png, reader.end_info, rows.data()) || error.out_of_memory)
    return failure();
  append_text(reader.png, reader.info, picture.text);
  append_text(reader.png, reader.end_info, picture.text);
  return picture;
}

}  // namespace

Expected<std::vector<uint8_t>> encode_png(const RgbImage& image, const PngText& text) {
  if (image.width < 1 || image.height < 1 || image.width > PNG_UINT_31_MAX ||
      image.height > PNG_UINT_31_MAX || image.width > kMaxPixels / image.height ||
      image.pixels.size() != static_cast<size_t>(image.width * image.height * 3)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "picture of {}x{} with {} bytes of pixels: expected width x height x 3, at most {} pixels",
        image.width, image.height, image.pixels.size(), kMaxPixels);
  }
  std::vector<TextChunk> chunks;
  for (const auto& [keyword, body] : text) {
    INTAGLIO_ASSIGN(TextChunk chunk, make_chunk(keyword, body));
    chunks.push_back(std::move(chunk));
  }
  std::vector<png_text> records(chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    records[i] = {};
    records[i].compression =
        chunks[i].international ? PNG_ITXT_COMPRESSION_NONE : PNG_TEXT_COMPRESSION_NONE;
    records[i].key = chunks[i].keyword.data();
    records[i].text = chunks[i].text.data();
    records[i].text_length = chunks[i].international ? 0 : chunks[i].text.size();
    records[i].itxt_length = chunks[i].international ? chunks[i].text.size() : 0;
  }

  PngError error;
  std::vector<uint8_t> bytes;
  WriteStruct writer;
  writer.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &error, on_error, on_warning,
                                         &error, take_memory, drop_memory);
  if (writer.png != nullptr) writer.info = png_create_info_struct(writer.png);
  if (writer.info == nullptr)
    return make_error(ErrorCode::kOutOfMemory, "PNG: out of memory for the encoder");
  png_set_write_fn(writer.png, &bytes, append_bytes, nullptr);
  png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  const bool encoded =
      run_encode(writer.png, writer.info, image, records.data(), static_cast<int>(records.size()));
  if (error.out_of_memory)
    return make_error(ErrorCode::kOutOfMemory, "PNG: out of memory for the encoder");
  if (!encoded) return make_error(ErrorCode::kInternal, "PNG: {}", error.message);
  return bytes;
}

Status write_png(const std::filesystem::path& path, const RgbImage& image, const PngText& text) {
  return guard_file_memory(path, "writing", [&]() -> Status {
    INTAGLIO_ASSIGN(const std::vector<uint8_t> bytes, encode_png(image, text));
    return write_file_atomic(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  });
}

bool is_png(std::span<const uint8_t> bytes) {
  return bytes.size() >= 8 && png_sig_cmp(bytes.data(), 0, 8) == 0;
}

Expected<RgbaImage> decode_png(std::span<const uint8_t> bytes, std::string_view name,
                               int64_t most_pixels) {
  INTAGLIO_ASSIGN(ReadPicture picture, read_picture(bytes, name, 4, most_pixels));
  return RgbaImage{picture.width, picture.height, std::move(picture.pixels)};
}

Expected<std::pair<RgbImage, PngText>> read_png(const std::filesystem::path& path) {
  INTAGLIO_ASSIGN(const std::string bytes, read_file(path, kMaxPngBytes));
  INTAGLIO_ASSIGN(ReadPicture picture,
                  read_picture({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                               path.string(), 3, kMaxPixels));
  return std::pair(RgbImage{picture.width, picture.height, std::move(picture.pixels)},
                   std::move(picture.text));
}

}  // namespace intaglio
