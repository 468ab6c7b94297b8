// --init-image, --strength and --mask: what pictures begin from in place of noise alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/init_picture.h"
#include "options.h"
#include "pipeline/picture_text.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

struct InitFlags {
  std::optional<std::string> image, mask, strength;
};
void add_init_flags(CLI::App& command, InitFlags& flags);

struct InitFiles {
  RgbImage image;
  std::optional<RgbImage> mask;  // of the image's size
  InitOrigin origin;

  // Of a picture of that size: fit_picture.
  InitPicture of_size(int64_t width, int64_t height) const;
  // The image's own, to the nearest multiple of `unit` pixels that a picture may have.
  PictureSize nearest_size(int64_t unit) const;
};
// nullopt: none is asked for, or what is joins `errors`.
std::optional<InitFiles> read_init_files(const InitFlags& flags, std::vector<Error>& errors);

}  // namespace intaglio::cli
