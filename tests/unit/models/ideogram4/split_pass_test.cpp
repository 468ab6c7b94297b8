// Passes whose rows are split over several ranks, against the published tensors.
#include "io/json_config.h"
#include "io/safetensors.h"
#include "models/ideogram4/transformer.h"
#include "support/source_folder.h"
#include "support/tested_cpus.h"
#include "unit/models/split_passes.h"

namespace intaglio::ideogram4 {
namespace {

using test::expect_velocity;
using test::has_same_sums;
using test::made_up;
using test::Problem;
using test::split_velocity;
using test::whole_velocity;

std::unique_ptr<Transformer> load(const char* folder, const Context& context, Precision precision) {
  const std::filesystem::path part = test::source_path(folder);
  const JsonConfig config = *JsonConfig::open(part / "config.json");
  auto transformer = std::make_unique<Transformer>(
      *parse_transformer_config(config),
      TransformerOptions{.selection = {.precision = precision, .keep_bf16 = {}}});
  const auto source = transformer->open_source(
      Checkpoint::open(part / "diffusion_pytorch_model.safetensors").value());
  EXPECT_TRUE(source) << source.error().message;
  EXPECT_TRUE(transformer->load(context, **source));
  return transformer;
}

struct Case {
  const char* folder;
  const char* file;
};

class SplitPass : public testing::TestWithParam<std::tuple<Case, Precision>> {
 protected:
  static Problem problem_of(const char* file, std::vector<float>* expected = nullptr) {
    const auto tensors =
        SafetensorsFile::open(test::source_path(std::string("tests/reference/data/cases/") + file))
            .value();
    const auto read = [&](const char* name) { return read_floats(*tensors->find(name)).value(); };
    const JsonConfig note = JsonConfig::parse(tensors->metadata().at("note"), file).value();
    const std::vector<float> time = read("timestep");
    Problem problem{.size = {.text_tokens = tensors->find("text_features")->view.shape[0],
                             .grid_h = note.integer("grid_h", 1, 1 << 16).value(),
                             .grid_w = note.integer("grid_w", 1, 1 << 16).value()},
                    .text = read("text_features"),
                    .latents = read("latents"),
                    .times = {0.5f, time.front()}};
    if (expected != nullptr) *expected = read("velocity");
    return problem;
  }
};

TEST_P(SplitPass, VelocityIsThatOfOneDevice) {
  const auto& [which, precision] = GetParam();
  std::vector<float> expected;
  const Problem problem = problem_of(which.file, &expected);
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const auto transformer = load(which.folder, {.threads = 2, .cpu = cpu}, precision);
    const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
    EXPECT_LE(relative_error(whole, expected), tolerances_for(precision).velocity);
    const int64_t heads = std::string_view(which.folder).find("wide") != std::string::npos ? 2 : 4;
    for (int ranks = 2; ranks <= heads; ++ranks)
      expect_velocity(*transformer, cpu, problem, whole, ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SplitPass,
    testing::Combine(testing::Values(Case{"tests/reference/data/tiny/transformer",
                                          "transformer_small_0.safetensors"},
                                     Case{"tests/reference/data/tiny/transformer",
                                          "transformer_small_2.safetensors"},
                                     Case{"tests/reference/data/wide_transformer",
                                          "transformer_wide_1.safetensors"}),
                     testing::Values(Precision::kFp32, Precision::kBf16, Precision::kInt8)),
    [](const auto& info) {
      const std::string file = std::get<0>(info.param).file;
      std::string name = file.substr(12, file.find('.') - 12);
      return name + "_" + std::string(precision_name(std::get<1>(info.param)));
    });

constexpr const char* kTiny = "tests/reference/data/tiny/transformer";

// Rows that no number of ranks divides, ranks of text alone, passes without any text.
TEST(SplitPassSizes, AnyRowsAreSplit) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kInt8);
  int bit_equal = 0;
  for (const PassSize& size :
       {PassSize{.text_tokens = 5, .grid_h = 3, .grid_w = 5},
        PassSize{.text_tokens = 0, .grid_h = 1, .grid_w = 47},
        PassSize{.text_tokens = 71, .grid_h = 3, .grid_w = 5},  // ranks of text alone
        PassSize{.text_tokens = 130, .grid_h = 9, .grid_w = 11}}) {
    const Problem problem = made_up(*transformer, size);
    const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
    for (const int ranks : {2, 3, 4}) {
      expect_velocity(*transformer, cpu, problem, whole, ranks);
      if (has_same_sums(*transformer, size, ranks)) ++bit_equal;
    }
  }
  EXPECT_GE(bit_equal, 9);
}

// Each rank keeps and reuses what the blocks after the first add to its own rows.
TEST(SplitPassSizes, ABlockCacheIsOfTheRanksRows) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kFp32);
  const Problem problem = made_up(*transformer, {.text_tokens = 5, .grid_h = 3, .grid_w = 5});
  const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
  const std::vector<float> reused = split_velocity(*transformer, cpu, problem, 3, true);
  EXPECT_LE(relative_error(reused, whole), 1e-6);  // a difference and a sum are rounded
}

TEST(SplitPassSizes, FewerRowsOrHeadsThanRanksAreRefused) {
  const CpuFeatures cpu = host_cpu_features();
  const Context context{.threads = 1, .cpu = cpu};
  const auto transformer = load(kTiny, context, Precision::kFp32);
  PassSize size{.text_tokens = 4, .grid_h = 3, .grid_w = 5, .split = {0, 4}};
  EXPECT_TRUE(transformer->check_split(context, size));
  size.split = {0, 5};
  Status refused = transformer->check_split(context, size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "a pass of 19 tokens and 4 key heads is split over 5 devices; expected at least one of "
            "both for each");
  size = {.text_tokens = 0, .grid_h = 1, .grid_w = 3, .split = {0, 4}};
  EXPECT_FALSE(transformer->check_split(context, size));
}

// A rank that is stopped before its second layer ends the others, which wait for its heads.
TEST(SplitPassSizes, ARankThatStopsEndsTheOthers) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kFp32);
  const Problem problem = made_up(*transformer, {.text_tokens = 5, .grid_h = 3, .grid_w = 5});
  const std::atomic<bool> stop = true;
  std::vector<Status> done;
  split_velocity(*transformer, cpu, problem, 3, false, &done, [&](int rank, Context& context) {
    if (rank == 1) context.cancel = &stop;
  });
  for (const Status& status : done) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  }
}

}  // namespace
}  // namespace intaglio::ideogram4
