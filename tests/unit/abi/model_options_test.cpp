#include <gtest/gtest.h>

#include "abi/picture_options.h"
#include "support/source_folder.h"

namespace intaglio::abi {
namespace {

class ModelOptionsTest : public testing::Test {
 protected:
  Expected<ModelChoice> choose(const char* device, const char* parallel) const {
    intaglio_model_options options = INTAGLIO_MODEL_OPTIONS_INIT;
    options.model = folder_.c_str();
    options.device = device;
    options.parallel = parallel;
    return choose_model(options);
  }
  std::string folder_ = test::source_path("models/mini");
};

TEST_F(ModelOptionsTest, SeveralGpusShareStepsOrPasses) {
  const auto each = choose("cuda:0,cuda:1", nullptr);
  ASSERT_TRUE(each) << each.error().message;
  EXPECT_EQ(each->options.gpu, 0);
  EXPECT_EQ(each->options.second_gpu, 1);
  EXPECT_TRUE(each->options.rank_gpus.empty());
  EXPECT_EQ(choose("cuda:0,cuda:1", "off")->options.second_gpu, 1);
  const auto shared = choose("cuda:2,cuda:0,cuda:1", "ulysses");
  ASSERT_TRUE(shared) << shared.error().message;
  EXPECT_EQ(shared->options.gpu, 2);
  EXPECT_EQ(shared->options.second_gpu, std::nullopt);
  EXPECT_EQ(shared->options.rank_gpus, (std::vector<int>{0, 1}));
  const auto halves = choose("cuda:0,cuda:1,cuda:2,cuda:3", "cfg+ulysses");
  ASSERT_TRUE(halves) << halves.error().message;
  EXPECT_EQ(halves->options.rank_gpus, std::vector<int>{1});
  EXPECT_EQ(halves->options.second_gpu, 2);
  EXPECT_EQ(halves->options.second_rank_gpus, std::vector<int>{3});
}

}  // namespace
}  // namespace intaglio::abi
