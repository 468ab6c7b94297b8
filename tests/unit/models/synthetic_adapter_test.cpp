// Adapters of random numbers: which linears they are for, and that they fit.
#include "models/synthetic_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/registry.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

TEST(SyntheticAdapter, FitsEveryLinearOfItsModel) {
  const TempFolder folder;
  const auto model = synthetic_model("mini").value();
  const Status written =
      write_synthetic_adapter(*model, {.rank = 5, .biases = true}, folder / "a.safetensors");
  ASSERT_TRUE(written) << written.error().message;
  const auto file = AdapterFile::open(folder / "a.safetensors").value();
  const std::vector<AdapterUse> uses{{file}};
  const auto warnings = model->check_adapters(uses);
  ASSERT_TRUE(warnings) << warnings.error().message;
  EXPECT_THAT(*warnings, testing::IsEmpty());
  size_t linears = 0;
  for (int which = 0; which < model->transformers(); ++which)
    linears += model->transformer(which, {})->quantized_linears().size();
  EXPECT_EQ(file->modules().size(), linears);
  for (const AdapterModule* const module : file->modules()) {
    EXPECT_TRUE(module->is_low_rank());
    EXPECT_EQ(file->shape_of(*module)->rank, 5);
  }
}

TEST(SyntheticAdapter, RanksBeyondMeasureAreRefused) {
  const TempFolder folder;
  const auto model = synthetic_model("mini").value();
  for (const int64_t rank : {int64_t{0}, kMostSyntheticRank + 1}) {
    const Status refused =
        write_synthetic_adapter(*model, {.rank = rank}, folder / "a.safetensors");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, testing::HasSubstr("expected 1 to 1024"));
  }
}

}  // namespace
}  // namespace intaglio
