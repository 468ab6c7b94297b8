// Pictures that clients send: PNG, JPEG, WebP, and what EXIF says of a JPEG.
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "io/decode_picture.h"
#include "io/fit_picture.h"
#include "io/jpeg.h"

using namespace intaglio;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int orientation = exif_orientation({data, size});
  FUZZ_CHECK(orientation >= 1 && orientation <= 8);
  const Expected<RgbaImage> image = decode_rgba_picture({data, size}, "picture");
  if (!image) {
    FUZZ_CHECK(image.error().message.starts_with("picture: ") && is_utf8(image.error().message));
    return 0;
  }
  FUZZ_CHECK(image->width >= 1 && image->height >= 1);
  FUZZ_CHECK(image->width * image->height <= int64_t{1} << 26);
  FUZZ_CHECK(image->pixels.size() == static_cast<size_t>(image->width * image->height * 4));
  FUZZ_CHECK(mask_of_transparency(*image, 5, 3).size() == 15);
  constexpr int64_t kMostFitted = 1 << 16;  // of larger ones the fuzzer would do nothing else
  if (image->width * image->height <= kMostFitted)
    FUZZ_CHECK(fit_picture(on_white(*image), 7, 3).pixels.size() == 63);
  return 0;
}
