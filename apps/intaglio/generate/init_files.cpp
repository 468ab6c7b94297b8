#include "generate/init_files.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "core/files.h"
#include "interrupt.h"
#include "io/content_hash.h"
#include "io/decode_picture.h"
#include "io/fit_picture.h"
#include "io/printable.h"
#include "models/model_info.h"

namespace intaglio::cli {
namespace {

struct HashedPicture {
  RgbImage image;
  std::string hash;
};

Expected<HashedPicture> read_picture(const char* flag, const std::string& file) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 28;
  INTAGLIO_ASSIGN(const std::string bytes, read_file(file, kMostBytes).map_error([&](Error error) {
    return Error{error.code, fmt::format("{}: {}", flag, error.message)};
  }));
  const std::span<const uint8_t> content(reinterpret_cast<const uint8_t*>(bytes.data()),
                                         bytes.size());
  INTAGLIO_ASSIGN(RgbImage image,
                  decode_picture(content, fmt::format("{} {}", flag, printable(file))));
  return HashedPicture{.image = std::move(image), .hash = hash128_text(bytes)};
}

Status read_mask(const std::string& file, InitFiles& files) {
  INTAGLIO_ASSIGN(HashedPicture mask, read_picture("--mask", file));
  if (mask.image.width != files.image.width || mask.image.height != files.image.height)
    return make_error(ErrorCode::kInvalidArgument,
                      "--mask {}: {}x{}, expected the size of --init-image, {}x{}", printable(file),
                      mask.image.width, mask.image.height, files.image.width, files.image.height);
  files.mask = std::move(mask.image);
  files.origin.mask_hash = std::move(mask.hash);
  return {};
}

Expected<double> parse_strength(const std::string& text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value > 0.0 && value <= 1.0)
    return value;
  return make_error(ErrorCode::kInvalidArgument,
                    "--strength: expected a number above 0 to 1, found \"{}\"",
                    printable(text, 60));
}

Expected<InitFiles> read_files(const InitFlags& flags, double strength) {
  const EndAtOnce decoding;
  InitFiles files;
  files.origin.strength = strength;
  INTAGLIO_ASSIGN(HashedPicture picture, read_picture("--init-image", *flags.image));
  files.image = std::move(picture.image);
  files.origin.image_hash = std::move(picture.hash);
  if (flags.mask) INTAGLIO_TRY(read_mask(*flags.mask, files));
  return files;
}

}  // namespace

void add_init_flags(CLI::App& command, InitFlags& flags) {
  command
      .add_option("--init-image", flags.image,
                  "Begin from this picture (PNG, JPEG or WebP) in place of noise alone. Without "
                  "--size the result has its size, rounded to what the model can draw; to another "
                  "size it is scaled until it covers that, and cut at its middle")
      ->type_name("FILE");
  command
      .add_option("--strength", flags.strength,
                  "How much --init-image is changed: the share of the steps that run, above 0 to "
                  "1, which runs all of them; by default 0.6")
      ->type_name("SHARE");
  command
      .add_option("--mask", flags.mask,
                  "A picture of the size of --init-image: what is white is drawn anew, what is "
                  "black stays as it was to the bit, grey is blended")
      ->type_name("FILE");
}

InitPicture InitFiles::of_size(int64_t width, int64_t height) const {
  const EndAtOnce scaling;
  InitPicture init{
      .image = fit_picture(image, width, height), .mask = {}, .strength = origin.strength};
  if (mask) init.mask = mask_of(*mask, width, height);
  return init;
}

PictureSize InitFiles::nearest_size(int64_t unit) const {
  const auto nearest = [unit](int64_t side) {
    return std::clamp((side + unit / 2) / unit, int64_t{1}, kMaxSide / unit) * unit;
  };
  return {nearest(image.width), nearest(image.height)};
}

std::optional<InitFiles> read_init_files(const InitFlags& flags, std::vector<Error>& errors) {
  const size_t before = errors.size();
  const auto wrong = [&](std::string message) {
    errors.push_back({ErrorCode::kInvalidArgument, std::move(message)});
  };
  if (!flags.image && flags.mask)
    wrong("--mask: needs --init-image, the picture that is kept where it is black");
  if (!flags.image && flags.strength)
    wrong("--strength: needs --init-image, the picture that is changed");
  double strength = InitPicture().strength;
  if (flags.strength) {
    const Expected<double> parsed = parse_strength(*flags.strength);
    if (parsed) strength = *parsed;
    if (!parsed) errors.push_back(parsed.error());
  }
  if (!flags.image || errors.size() > before) return std::nullopt;
  Expected<InitFiles> files = read_files(flags, strength);
  if (files) return std::move(*files);
  errors.push_back(files.error());
  return std::nullopt;
}

}  // namespace intaglio::cli
