#include <gtest/gtest.h>

#include "models/registry.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

// A device that shares one pass gets the texts of that pass, each once.
TEST(RankNeeds, FeaturesAreOfTheTextsOfItsPasses) {
  const auto model = open_model({.folder = test::source_path("models/mini")}).value();
  const Context context = host_context(1).value();
  PlannedPicture picture{.passes = {{.transformer = 0, .text = 0}, {.transformer = 1}},
                         .text_tokens = {10, 20},
                         .grid_h = 16,
                         .grid_w = 16,
                         .steps = 1};
  picture.split = {1, 2};
  const auto tokens = [&] {
    const uint64_t bytes = rank_needs(context, *model, {}, picture).value().features;
    return bytes / sizeof(float) / static_cast<uint64_t>(model->text_config().feature_dim());
  };
  EXPECT_EQ(tokens(), 10u);
  picture.alone = 0;
  EXPECT_EQ(tokens(), 10u);
  picture.alone = 1;
  EXPECT_EQ(tokens(), 0u);
  picture.alone.reset();
  picture.passes[1] = {.transformer = 0, .text = 1};
  EXPECT_EQ(tokens(), 30u);
  picture.passes[1].text = 0;
  EXPECT_EQ(tokens(), 10u);
}

}  // namespace
}  // namespace intaglio
