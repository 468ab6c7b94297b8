#include "io/decode_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/files.h"
#include "io/jpeg.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kRed[] = {200, 30, 30}, kGreen[] = {30, 200, 30}, kBlue[] = {30, 30, 200};
constexpr int kWhite[] = {255, 255, 255};

// Pictures of 24 x 16 pixels: green in 8 x 8 of the upper left, red in the rest of the left half,
// blue in the right half.
std::vector<uint8_t> stored(const std::string& name) {
  const auto text = read_file(test::source_path("tests/fuzz/corpus/picture/" + name), 1 << 20);
  EXPECT_TRUE(text) << name;
  return {text->begin(), text->end()};
}

void expect_pixel(const RgbImage& image, int64_t x, int64_t y, const int (&expected)[3],
                  int tolerance, const std::string& name) {
  for (int64_t c = 0; c < 3; ++c) {
    const int found = image.pixels[static_cast<size_t>((y * image.width + x) * 3 + c)];
    EXPECT_NEAR(found, expected[c], tolerance) << name << " at " << x << "," << y;
  }
}

TEST(DecodePicture, ReadsEveryFormat) {
  for (const char* name :
       {"rgb.png", "palette.png", "lossy.webp", "baseline.jpg", "progressive.jpg", "cmyk.jpg"}) {
    const auto image = decode_picture(stored(name), name);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->width, 24);
    EXPECT_EQ(image->height, 16);
    const int tolerance = std::string_view(name) == "rgb.png" ? 0 : 12;
    expect_pixel(*image, 2, 2, kGreen, tolerance, name);
    expect_pixel(*image, 3, 13, kRed, tolerance, name);
    expect_pixel(*image, 20, 8, kBlue, tolerance, name);
  }
}

TEST(DecodePicture, ReadsGreyOfAnyDepth) {
  const auto deep = decode_picture(stored("grey16.png"), "grey16.png");
  ASSERT_TRUE(deep);
  expect_pixel(*deep, 3, 13, {200, 200, 200}, 0, "grey16.png");
  for (const char* name : {"grey.png", "grey.jpg"}) {
    const auto image = decode_picture(stored(name), name);
    ASSERT_TRUE(image);
    expect_pixel(*image, 3, 13, {81, 81, 81}, 3, name);
  }
  const auto bit = decode_picture(stored("one_bit.png"), "one_bit.png");
  ASSERT_TRUE(bit);
  EXPECT_TRUE(bit->pixels[0] == 0 || bit->pixels[0] == 255);
}

TEST(DecodePicture, LaysWhatIsTransparentOnWhite) {
  for (const char* name : {"rgba.png", "rgba.webp"}) {
    const auto image = decode_picture(stored(name), name);
    ASSERT_TRUE(image);
    expect_pixel(*image, 3, 13, kRed, 0, name);
    expect_pixel(*image, 20, 13, kWhite, 0, name);
    expect_pixel(*image, 20, 2, {142, 142, 227}, 1, name);
    const auto rgba = decode_rgba_picture(stored(name), name);
    ASSERT_TRUE(rgba);
    EXPECT_EQ(rgba->pixels[(2 * 24 + 20) * 4 + 3], 128);
    EXPECT_EQ(rgba->pixels[(13 * 24 + 20) * 4 + 3], 0);
  }
  const auto keyed = decode_picture(stored("trns.png"), "trns.png");
  ASSERT_TRUE(keyed);
  expect_pixel(*keyed, 3, 13, kWhite, 0, "trns.png");
  expect_pixel(*keyed, 20, 13, kBlue, 0, "trns.png");
}

// The pixels of the files are all the same; where they are seen differs.
TEST(DecodePicture, TurnsAsExifSays) {
  struct Corner {
    int orientation;
    bool right, lower;  // where the green corner is seen
  };
  for (const Corner& corner :
       {Corner{2, true, false}, Corner{3, true, true}, Corner{4, false, true},
        Corner{5, false, false}, Corner{6, true, false}, Corner{7, true, true},
        Corner{8, false, true}}) {
    const std::string name = "turned_" + std::to_string(corner.orientation) + ".jpg";
    const auto image = decode_picture(stored(name), name);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->width, corner.orientation >= 5 ? 16 : 24) << name;
    EXPECT_EQ(image->height, corner.orientation >= 5 ? 24 : 16) << name;
    const int64_t x = corner.right ? image->width - 3 : 2;
    const int64_t y = corner.lower ? image->height - 3 : 2;
    expect_pixel(*image, x, y, kGreen, 12, name);
    expect_pixel(*image, image->width - 1 - x, image->height - 1 - y, kBlue, 12, name);
  }
}

TEST(DecodePicture, ReadsExifOfBothByteOrders) {
  const std::string little("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 28);
  const std::string big("Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0", 28);
  const auto orientation = [](const std::string& text) {
    return exif_orientation({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  EXPECT_EQ(orientation(little), 6);
  EXPECT_EQ(orientation(big), 8);
  for (size_t cut = 0; cut < little.size(); ++cut) EXPECT_EQ(orientation(little.substr(0, cut)), 1);
  std::string far = little;
  far[10] = far[11] = far[12] = far[13] = '\xff';
  EXPECT_EQ(orientation(far), 1);
}

TEST(DecodePicture, RefusesWhatIsCutOff) {
  for (const char* name : {"rgb.png", "rgba.png", "lossy.webp", "rgba.webp", "baseline.jpg",
                           "progressive.jpg", "cmyk.jpg"}) {
    const std::vector<uint8_t> whole = stored(name);
    // The end marks of the formats, and WebP's padding, may be missing.
    for (size_t length = 0; length + 16 < whole.size(); length += 5) {
      const auto image = decode_picture(std::span(whole).first(length), name);
      ASSERT_FALSE(image) << name << " of " << length << " bytes";
      EXPECT_EQ(image.error().code, ErrorCode::kBadFormat);
      EXPECT_THAT(image.error().message, StartsWith(std::string(name) + ": "));
    }
  }
}

TEST(DecodePicture, SurvivesDamage) {
  std::mt19937 random(5);
  for (const char* name : {"rgba.png", "lossy.webp", "baseline.jpg", "progressive.jpg"}) {
    const std::vector<uint8_t> whole = stored(name);
    for (int i = 0; i < 200; ++i) {
      std::vector<uint8_t> bytes = whole;
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
      const auto image = decode_picture(bytes, name);
      if (image) {
        EXPECT_EQ(image->pixels.size(), static_cast<size_t>(image->width * image->height * 3));
      }
    }
  }
}

TEST(DecodePicture, RefusesTooManyPixelsAndAnimations) {
  for (const char* name : {"huge.jpg", "huge.webp"}) {
    const auto image = decode_picture(stored(name), name);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().code, ErrorCode::kBadFormat);
  }
  EXPECT_THAT(decode_picture(stored("huge.jpg"), "huge.jpg").error().message,
              HasSubstr("65500x65500 pixels, at most 67108864"));
  EXPECT_THAT(decode_picture(stored("animation.webp"), "a").error().message,
              HasSubstr("found an animation"));
}

TEST(DecodePicture, RefusesOtherFiles) {
  for (const std::string& text : {std::string(), std::string("GIF89a"), std::string("hello")}) {
    const auto image =
        decode_picture({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, "init_image");
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().message, "init_image: expected a PNG, JPEG or WebP picture");
  }
}

}  // namespace
}  // namespace intaglio
