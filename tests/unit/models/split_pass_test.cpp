// Passes whose rows are split over several ranks, of the models that have other sequences than
// Ideogram 4: two streams, the image first, pads, a refiner of the image alone, grouped queries.
#include "models/registry.h"
#include "support/source_folder.h"
#include "support/tested_cpus.h"
#include "unit/models/split_passes.h"

namespace intaglio {
namespace {

std::unique_ptr<Transformer> load(const std::string& model, const Context& context,
                                  Precision precision) {
  const auto opened =
      open_model({.folder = test::source_path("tests/reference/" + model + "/tiny")}).value();
  auto loaded = opened->load_transformer(context, 0,
                                         {.selection = {.precision = precision, .keep_bf16 = {}}});
  EXPECT_TRUE(loaded) << loaded.error().message;
  return std::move(*loaded);
}

class ModelSplitPass : public testing::TestWithParam<std::tuple<const char*, Precision>> {};

// Ranks of both kinds of rows, of one alone, and rows that no number of ranks divides.
TEST_P(ModelSplitPass, VelocityIsThatOfOneDevice) {
  const auto& [model, precision] = GetParam();
  int bit_equal = 0;
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const auto transformer = load(model, {.threads = 2, .cpu = cpu}, precision);
    for (const PassSize& size : {PassSize{.text_tokens = 40, .grid_h = 13, .grid_w = 17},
                                 PassSize{.text_tokens = 90, .grid_h = 7, .grid_w = 7}}) {
      const test::Problem problem = test::made_up(*transformer, size);
      const std::vector<float> whole = test::whole_velocity(*transformer, cpu, problem);
      for (int ranks = 2; ranks <= 3; ++ranks) {
        PassSize last = size;
        last.split = {ranks - 1, ranks};
        if (!transformer->check_split({.threads = 1, .cpu = cpu}, last)) continue;
        test::expect_velocity(*transformer, cpu, problem, whole, ranks);
        if (test::has_same_sums(*transformer, size, ranks)) ++bit_equal;
      }
    }
  }
  EXPECT_GE(bit_equal, 2);
}

class ModelSplitCache : public testing::TestWithParam<const char*> {};

// Each rank keeps and reuses what the blocks after the first add to its own rows.
TEST_P(ModelSplitCache, IsOfTheRanksRows) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(GetParam(), {.threads = 2, .cpu = cpu}, Precision::kFp32);
  const test::Problem problem =
      test::made_up(*transformer, {.text_tokens = 70, .grid_h = 9, .grid_w = 13});
  const std::vector<float> whole = test::whole_velocity(*transformer, cpu, problem);
  const std::vector<float> reused = test::split_velocity(*transformer, cpu, problem, 2, true);
  EXPECT_LE(relative_error(reused, whole), 1e-5);  // a difference and a sum are rounded
}

constexpr const char* kModels[] = {"z_image", "flux2_klein", "krea2", "qwen_image"};

INSTANTIATE_TEST_SUITE_P(Models, ModelSplitPass,
                         testing::Combine(testing::ValuesIn(kModels),
                                          testing::Values(Precision::kFp32, Precision::kBf16,
                                                          Precision::kInt8)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::string(precision_name(std::get<1>(info.param)));
                         });

INSTANTIATE_TEST_SUITE_P(Models, ModelSplitCache, testing::ValuesIn(kModels),
                         [](const auto& info) { return std::string(info.param); });

// Its noise refiner runs over the image's rows, of which a rank of text alone has none.
TEST(ZImageSplitPass, ARankWithoutImageRowsIsRefused) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  const auto transformer = load("z_image", context, Precision::kFp32);
  const PassSize size{.text_tokens = 60, .grid_h = 4, .grid_w = 8, .split = {0, 3}};
  const Status refused = transformer->check_split(context, size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "a pass of 32 image and 64 text rows is split over 3 devices; expected image rows for "
            "each");
}

}  // namespace
}  // namespace intaglio
