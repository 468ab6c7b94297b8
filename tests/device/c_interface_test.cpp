// Pictures of the C interface on the device double: "cuda" is a device as "cpu" is.
#include <gtest/gtest.h>

#include <cstring>
#include <intaglio/intaglio.hpp>
#include <string>
#include <vector>

#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

api::PictureOptions picture_of_one_step() {
  return {.prompt = "an owl", .width = 32, .height = 32, .steps = 1, .seed = 5};
}

TEST(CInterfaceOnDevice, DrawsThePipelinesPicture) {
  const std::string folder = test::source_path("models/mini");
  api::Model model;
  const api::Result opened =
      model.open({.model = folder.c_str(), .device = "cuda:0", .threads = 1});
  ASSERT_TRUE(opened) << opened.message;
  api::PicturePlan plan;
  const api::Result planned = model.plan(picture_of_one_step(), plan);
  ASSERT_TRUE(planned) << planned.message;
  EXPECT_EQ(std::string_view(plan.device).substr(0, 8), "cuda:0, ");
  api::Picture picture;
  const api::Result drawn = model.generate(picture_of_one_step(), picture);
  ASSERT_TRUE(drawn) << drawn.message;

  const auto engine = open_model({.folder = folder});
  ASSERT_TRUE(engine) << engine.error().message;
  PipelineOptions options{.gpu = 0};
  options.threads = 1;
  const auto pipeline = Pipeline::open(*engine, options);
  ASSERT_TRUE(pipeline) << pipeline.error().message;
  PictureRequest request;
  request.prompt = "an owl";
  request.width = request.height = 32;
  const auto schedule = choose_schedule((*engine)->info(), {.steps = 1});
  ASSERT_TRUE(schedule) << schedule.error().message;
  request.steps = schedule->steps;
  request.mu = schedule->mu.value_or(request.mu);
  request.std = schedule->std.value_or(request.std);
  request.guidance = schedule->guidance;
  request.seed = 5;
  const auto expected = (*pipeline)->generate(request, {}, nullptr);
  ASSERT_TRUE(expected) << expected.error().message;
  const auto pixels = picture.pixels();
  ASSERT_EQ(pixels.size(), expected->image.pixels.size());
  EXPECT_EQ(std::memcmp(pixels.data(), expected->image.pixels.data(), pixels.size()), 0);
}

TEST(CInterfaceOnDevice, TwoDevicesDrawThePictureOfOne) {
  const std::string folder = test::source_path("models/mini");
  std::vector<uint8_t> pixels;
  for (const char* device : {"cuda:0", "cuda:0,cuda:1"}) {
    api::Model model;
    const api::Result opened =
        model.open({.model = folder.c_str(), .device = device, .threads = 1});
    ASSERT_TRUE(opened) << opened.message;
    api::PicturePlan plan;
    ASSERT_TRUE(model.plan(picture_of_one_step(), plan));
    api::Picture picture;
    const api::Result drawn = model.generate(picture_of_one_step(), picture);
    ASSERT_TRUE(drawn) << drawn.message;
    const std::vector<uint8_t> now(picture.pixels().begin(), picture.pixels().end());
    const std::string_view name(plan.device);
    EXPECT_EQ(name.find(" and cuda:1, ") != name.npos, !pixels.empty()) << name;
    if (pixels.empty()) pixels = now;
    EXPECT_EQ(now, pixels);
  }
}

TEST(CInterfaceOnDevice, ADeviceThatIsNotThereIsNamed) {
  const std::string folder = test::source_path("models/mini");
  api::Model model;
  const api::Result opened = model.open({.model = folder.c_str(), .device = "cuda:7"});
  EXPECT_EQ(opened.code, api::Code::kNotFound) << opened.message;
  EXPECT_EQ(opened.message.substr(0, 6), "cuda:7") << opened.message;
}

}  // namespace
}  // namespace intaglio
