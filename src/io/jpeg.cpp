#include "io/jpeg.h"

#include <jerror.h>
#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "io/printable.h"

// libjpeg reports errors by longjmp. Everything between setjmp and the last call of it lives in
// functions whose locals need no destructor; vectors and strings belong to their callers.

namespace intaglio {
namespace {

// Encoders write about ten; each costs a pass over the whole picture.
constexpr int kMostScans = 100;
constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr unsigned kMostExif = 0xffff;

struct JpegError {
  jpeg_error_mgr base{};
  std::jmp_buf jump{};
  char message[JMSG_LENGTH_MAX] = "";
  bool out_of_memory = false;
};

[[noreturn]] void on_error(j_common_ptr state) {
  auto* error = reinterpret_cast<JpegError*>(state->err);
  error->out_of_memory = state->err->msg_code == JERR_OUT_OF_MEMORY;
  state->err->format_message(state, error->message);
  std::longjmp(error->jump, 1);
}

// Warnings that leave the pixels as they are; others are of files that are cut off or damaged.
void on_message(j_common_ptr state, int level) {
  if (level >= 0) return;
  switch (state->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
      return;
    default:
      on_error(state);
  }
}

void on_progress(j_common_ptr state) {
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(state);
  if (decoder->input_scan_number <= kMostScans) return;
  auto* error = reinterpret_cast<JpegError*>(state->err);
  std::snprintf(error->message, sizeof(error->message), "more than %d scans", kMostScans);
  std::longjmp(error->jump, 1);
}

struct Decoder {
  jpeg_decompress_struct state{};
  JpegError error{};
  jpeg_progress_mgr progress{};

  Decoder() {
    state.err = jpeg_std_error(&error.base);
    error.base.error_exit = on_error;
    error.base.emit_message = on_message;
    progress.progress_monitor = on_progress;
  }
  ~Decoder() { jpeg_destroy_decompress(&state); }
};

bool run_read_header(Decoder& decoder, std::span<const uint8_t> bytes) {
  jpeg_decompress_struct* const state = &decoder.state;
  if (setjmp(decoder.error.jump)) return false;
  jpeg_create_decompress(state);
  state->progress = &decoder.progress;
  jpeg_mem_src(state, bytes.data(), bytes.size());
  jpeg_save_markers(state, kExifMarker, kMostExif);
  jpeg_read_header(state, TRUE);
  const bool is_cmyk = state->jpeg_color_space == JCS_CMYK || state->jpeg_color_space == JCS_YCCK;
  state->out_color_space = is_cmyk ? JCS_CMYK : JCS_EXT_RGBA;
  return true;
}

// `pixels`: 4 bytes each, of the header's size.
bool run_read_pixels(Decoder& decoder, uint8_t* pixels) {
  jpeg_decompress_struct* const state = &decoder.state;
  if (setjmp(decoder.error.jump)) return false;
  jpeg_start_decompress(state);
  while (state->output_scanline < state->output_height) {
    JSAMPROW row = pixels + size_t{state->output_scanline} * state->output_width * 4;
    jpeg_read_scanlines(state, &row, 1);
  }
  jpeg_finish_decompress(state);
  return true;
}

// Adobe's programs, whose files nearly all of these are, store how much light is left.
void cmyk_to_rgba(std::vector<uint8_t>& pixels, bool inverted) {
  for (size_t i = 0; i < pixels.size(); i += 4) {
    const int flip = inverted ? 0 : 255;
    const int black = flip ^ pixels[i + 3];
    for (size_t c = 0; c < 3; ++c)
      pixels[i + c] = static_cast<uint8_t>(((flip ^ pixels[i + c]) * black + 127) / 255);
    pixels[i + 3] = 255;
  }
}

int orientation_of(const jpeg_decompress_struct& state) {
  for (const jpeg_marker_struct* m = state.marker_list; m != nullptr; m = m->next) {
    if (m->marker != kExifMarker) continue;
    const int orientation = exif_orientation({m->data, m->data_length});
    if (orientation != 1) return orientation;
  }
  return 1;
}

// 2: mirrored left to right, 3: half a turn, 4: mirrored top to bottom; from 5 on rows are columns.
RgbaImage turned(RgbaImage image, int orientation) {
  if (orientation == 1) return image;
  const bool swaps = orientation >= 5;
  const bool mirrors_x =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirrors_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  RgbaImage out{swaps ? image.height : image.width, swaps ? image.width : image.height, {}};
  out.pixels.resize(image.pixels.size());
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t column = swaps ? y : x, row = swaps ? x : y;
      const int64_t from_x = mirrors_x ? image.width - 1 - column : column;
      const int64_t from_y = mirrors_y ? image.height - 1 - row : row;
      std::memcpy(&out.pixels[static_cast<size_t>(y * out.width + x) * 4],
                  &image.pixels[static_cast<size_t>(from_y * image.width + from_x) * 4], 4);
    }
  }
  return out;
}

}  // namespace

bool is_jpeg(std::span<const uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

int exif_orientation(std::span<const uint8_t> segment) {
  constexpr size_t kHead = 6;         // "Exif\0\0"
  constexpr size_t kEntryBytes = 12;  // tag, type, count, value
  constexpr uint32_t kOrientationTag = 0x0112;
  if (segment.size() < kHead + 8 || std::memcmp(segment.data(), "Exif\0\0", kHead) != 0) return 1;
  const std::span<const uint8_t> tiff = segment.subspan(kHead);
  const bool little = tiff[0] == 'I' && tiff[1] == 'I';
  if (!little && !(tiff[0] == 'M' && tiff[1] == 'M')) return 1;
  const auto number = [&](size_t at, size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; ++i)
      value = value << 8 | tiff[little ? at + bytes - 1 - i : at + i];
    return value;
  };
  const size_t table = number(4, 4);
  if (table > tiff.size() - 2) return 1;
  const size_t entries = number(table, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = table + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) return 1;
    if (number(entry, 2) != kOrientationTag) continue;
    const uint32_t orientation = number(entry + 8, 2);
    return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 1;
  }
  return 1;
}

Expected<RgbaImage> decode_jpeg(std::span<const uint8_t> bytes, std::string_view name,
                                int64_t most_pixels) {
  Decoder decoder;
  const auto failure = [&]() -> tl::unexpected<Error> {
    if (decoder.error.out_of_memory)
      return make_error(ErrorCode::kOutOfMemory, "{}: out of memory for the decoder", name);
    return make_error(ErrorCode::kBadFormat, "{}: {}", name, printable(decoder.error.message));
  };
  if (!run_read_header(decoder, bytes)) return failure();
  const jpeg_decompress_struct& state = decoder.state;
  RgbaImage image{state.image_width, state.image_height, {}};
  if (image.width > most_pixels / image.height)
    return make_error(ErrorCode::kBadFormat, "{}: {}x{} pixels, at most {} expected", name,
                      image.width, image.height, most_pixels);
  image.pixels.resize(static_cast<size_t>(image.width * image.height * 4));
  const int orientation = orientation_of(state);  // while the segments are there
  if (!run_read_pixels(decoder, image.pixels.data())) return failure();
  if (state.out_color_space == JCS_CMYK)
    cmyk_to_rgba(image.pixels, state.saw_Adobe_marker != FALSE);
  return turned(std::move(image), orientation);
}

}  // namespace intaglio
