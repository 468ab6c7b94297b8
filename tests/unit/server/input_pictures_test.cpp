#include "server/input_pictures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/sha256.h"
#include "support/temp_folder.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const InputFile kNone = [](const std::string& id) -> Expected<std::filesystem::path> {
  return make_error(ErrorCode::kNotFound, "{}", id);
};

// Keeps what fit_input_pictures returns.
struct Kept {
  TempFolder folder;
  InputFile file = [this](const std::string& id) -> Expected<std::filesystem::path> {
    const std::filesystem::path path = folder / id;
    if (!std::filesystem::exists(path)) return make_error(ErrorCode::kNotFound, "{}", id);
    return path;
  };
  void keep(const std::vector<InputPicture>& inputs) const {
    for (const InputPicture& input : inputs) folder.write(input.id, input.png);
  }
};

TEST(Sha256, IsThePublishedOne) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(InputPictures, AreBroughtToTheSizeAndComeBack) {
  const Kept kept;
  JobRequest request = beginning_from("x", 90, true);
  request.strength = 0.25;
  const auto inputs = fit_input_pictures(request, kept.file);
  ASSERT_TRUE(inputs);
  ASSERT_EQ(inputs->size(), 2u);
  EXPECT_EQ(request.sent, nullptr);
  EXPECT_EQ(request.init_image->id, sha256(inputs->at(0).png));
  EXPECT_EQ(request.init_image->width, 16);
  EXPECT_TRUE(is_input_id(request.mask->id));
  EXPECT_THAT(input_ids(request), ElementsAre(inputs->at(0).id, inputs->at(1).id));
  kept.keep(*inputs);
  const InitPicture init = read_init_picture(request, kept.file).value().value_or(InitPicture());
  EXPECT_EQ(init.image.pixels, plain_image(16, 16, 90).pixels);
  EXPECT_EQ(init.strength, 0.25);
  // 10 x 10 of the middle became 16 x 16.
  ASSERT_EQ(init.mask.size(), 256u);
  EXPECT_EQ(init.mask[7], 0);
  EXPECT_EQ(init.mask[8], 255);
}

TEST(InputPictures, NamedOnesAreFittedAnew) {
  const Kept kept;
  JobRequest first = beginning_from("x", 90);
  kept.keep(fit_input_pictures(first, kept.file).value());
  JobRequest second;
  second.init_image = KeptPicture{.id = first.init_image->id};
  second.width = second.height = 32;
  const auto inputs = fit_input_pictures(second, kept.file);
  ASSERT_TRUE(inputs);
  EXPECT_EQ(second.init_image->width, 32);
  EXPECT_NE(second.init_image->id, first.init_image->id);
  second.init_image->id = std::string(64, 'a');
  const auto none = fit_input_pictures(second, kept.file);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().parameter, "init_image");
  EXPECT_THAT(none.error().message, HasSubstr("there is no picture aaaa"));
}

TEST(InputPictures, WithoutOneThereIsNothing) {
  JobRequest request;
  request.width = request.height = 16;
  EXPECT_TRUE(fit_input_pictures(request, kNone)->empty());
  EXPECT_EQ(read_init_picture(request, kNone).value(), std::nullopt);
}

TEST(InputPictures, AMaskIsSoftenedWhereThatIsAskedFor) {
  const Kept kept;
  JobRequest request = beginning_from("x", 90, true);
  SentPictures sent = *request.sent;
  sent.mask_blur = 2;
  request.sent = std::make_shared<const SentPictures>(std::move(sent));
  kept.keep(fit_input_pictures(request, kept.file).value());
  const InitPicture init = read_init_picture(request, kept.file).value().value_or(InitPicture());
  ASSERT_EQ(init.mask.size(), 256u);
  EXPECT_GT(init.mask[7], 60);
  EXPECT_LT(init.mask[8], 200);
}

TEST(InputPictures, WhatIsNoPictureIsNamed) {
  for (const char* text : {"", "?", "aGVsbG8=", "data:image/png;base64,"}) {
    const auto image = decode_sent_base64("init_image", text);
    ASSERT_FALSE(image) << text;
    EXPECT_EQ(image.error().parameter, "init_image");
    EXPECT_THAT(image.error().message, HasSubstr("init_image: expected a"));
  }
  EXPECT_TRUE(decode_sent_base64("x", "data:image/png;base64," + base64_png(2, 2, 0)));
}

TEST(InputPictures, ChooseTheSizeOfAPictureByTheirs) {
  ModelInfo model;
  model.default_width = model.default_height = 64;
  const auto size_of = [&](int64_t width, int64_t height) {
    JobRequest request;
    request.sent = std::make_shared<const SentPictures>(
        SentPictures{.image = plain_image(width, height, 0), .mask = {}, .mask_blur = 0});
    choose_size_of_init(model, request);
    return std::pair(request.width.value_or(0), request.height.value_or(0));
  };
  EXPECT_EQ(size_of(50, 50), std::pair(int64_t{64}, int64_t{64}));
  EXPECT_EQ(size_of(200, 50), std::pair(int64_t{128}, int64_t{32}));
  EXPECT_EQ(size_of(1, 500), std::pair(int64_t{32}, int64_t{128}));
  JobRequest asked = beginning_from("x", 0);
  choose_size_of_init(model, asked);
  EXPECT_EQ(asked.width, 16);
}

TEST(InputPictures, IdsAreHexadecimal) {
  EXPECT_TRUE(is_input_id(sha256("")));
  EXPECT_FALSE(is_input_id(std::string(64, 'g')));
  EXPECT_FALSE(is_input_id(std::string(63, 'a')));
  EXPECT_FALSE(is_input_id("../" + std::string(61, 'a')));
}

}  // namespace
}  // namespace intaglio::server::test
