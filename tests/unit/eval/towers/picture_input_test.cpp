#include "eval/towers/picture_input.h"

#include <tuple>

#include "eval/towers/picture_config.h"
#include "support/temp_folder.h"
#include "unit/eval/towers/tower_reference.h"

namespace intaglio::towers {
namespace {

TEST(PictureInput, resizes_as_pillow_does) {
  const test::TowerReference reference("resize");
  for (int i = 0; i < 4; ++i)
    for (const auto& [height, width] :
         {std::pair(32, 45), std::pair(70, 33), std::pair(120, 100)}) {
      const std::string name = fmt::format("resized.{}.{}x{}", i, height, width);
      if (!reference.has(name)) continue;
      const RgbImage found =
          resize_bicubic(reference.picture(fmt::format("picture.{}", i)), width, height);
      EXPECT_EQ(found.pixels, reference.picture(name).pixels) << name;
    }
}

// What transformers' processor of Pillow gives, and within one level that of torchvision, whose
// resize rounds otherwise.
TEST(PictureInput, is_that_of_clip) {
  for (const auto& [name, side] : {std::pair("clip", 42), std::pair("pickscore", 32)}) {
    const test::TowerReference reference(name);
    const PictureRule rule{.shortest = side, .crop = side};
    for (int i = 0; i < 4; ++i) {
      const RgbImage picture = reference.picture(fmt::format("picture.{}", i));
      const std::vector<float> found = tower_input(picture, rule).values;
      EXPECT_LT(test::difference(found, reference.floats(fmt::format("pixels_pil.{}", i))), 1e-6)
          << name << i;
      const std::vector<float> vision = reference.floats(fmt::format("pixels.{}", i));
      double most = 0.0;
      for (size_t j = 0; j < found.size(); ++j)
        most = std::max(most, double{std::abs(found[j] - vision[j])});
      EXPECT_LT(most, 1.01 / 255 / 0.26) << name << i;
    }
  }
}

// Rests of 1, 3 and 5 pixels: halves go down, or to the even number.
TEST(PictureInput, the_middle_of_an_odd_rest_is_as_each_package_has_it) {
  for (const auto& [width, floor, even] :
       {std::tuple(5, 0, 0), std::tuple(7, 1, 2), std::tuple(9, 2, 2)}) {
    RgbImage picture{width, 4, {}};
    for (int64_t i = 0; i < 4 * width; ++i)
      for (int c = 0; c < 3; ++c) picture.pixels.push_back(static_cast<uint8_t>(i % width));
    PictureRule rule{.shortest = 4, .crop = 4, .mean = {0, 0, 0}, .deviation = {1, 1, 1}};
    EXPECT_NEAR(tower_input(picture, rule).values.front() * 255, floor, 1e-4);
    rule.rule = CropRule::kHalfEven;
    EXPECT_NEAR(tower_input(picture, rule).values.front() * 255, even, 1e-4);
  }
}

TEST(PictureInput, is_that_of_image_reward) {
  const test::TowerReference reference("image_reward");
  const PictureRule rule{.shortest = 64, .crop = 64, .rule = CropRule::kHalfEven};
  for (int i = 0; i < 4; ++i) {
    const RgbImage picture = reference.picture(fmt::format("picture.{}", i));
    EXPECT_LT(test::difference(tower_input(picture, rule).values,
                               reference.floats(fmt::format("pixels.{}", i))),
              1e-6)
        << i;
  }
}

TEST(PictureInput, a_config_may_say_how_and_what_is_not_done_is_refused) {
  const TempFolder folder;
  const std::filesystem::path file = folder.path() / "preprocessor_config.json";
  const auto read = [&](const std::string& text, PictureRule& rule) {
    EXPECT_TRUE(write_file_atomic(file, text));
    return read_picture_rule(file, rule);
  };
  PictureRule rule;
  ASSERT_TRUE(read(R"({"size": 256, "crop_size": 224, "image_mean": [0, 0.5, 1]})", rule));
  EXPECT_EQ(rule.shortest, 256);
  EXPECT_EQ(rule.mean[2], 1);
  for (const char* const wrong :
       {R"({"resample": 2})", R"({"do_center_crop": false})", R"({"crop_size": 200})",
        R"({"size": {"shortest_edge": 100}})", R"({"image_std": [1, 1]})",
        R"({"image_std": [1, 0, 1]})", R"({"size": {"height": 224, "width": 224}})"}) {
    PictureRule again;
    const Status status = read(wrong, again);
    ASSERT_FALSE(status) << wrong;
    EXPECT_NE(status.error().message.find("preprocessor_config.json"), std::string::npos);
  }
  PictureRule untouched;
  EXPECT_TRUE(read_picture_rule(folder.path() / "nothing.json", untouched));
}

}  // namespace
}  // namespace intaglio::towers
