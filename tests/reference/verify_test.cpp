// Every stage against the tensors of the published code, at every precision.
#include "verify/verify.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <tuple>

#include "support/source_folder.h"

namespace intaglio {
namespace {

// A set of tensors, and how many cases of each stage it has: none may silently vanish.
struct Set {
  const char* name;
  const char* folder;
  std::map<std::string, int> cases;
};

class Verify : public testing::TestWithParam<std::tuple<Precision, Set>> {};

TEST_P(Verify, PublishedTensors) {
  const auto& [precision, set] = GetParam();
  const auto results = verify_directory(
      test::source_path(set.folder),
      {.selection = LayerSelection{.precision = precision, .keep_bf16 = {}}, .threads = 2}, {});
  ASSERT_TRUE(results) << results.error().message;
  std::map<std::string, int> passed;
  for (const VerifyResult& r : *results) {
    EXPECT_NE(r.verdict, Verdict::kFail) << r.stage << " " << r.name << ": error " << r.error
                                         << ", tolerance " << r.tolerance << " " << r.detail;
    if (r.verdict == Verdict::kPass) ++passed[r.stage];
  }
  EXPECT_EQ(passed, set.cases);
}

// Latents and picture of each pipeline.
const Set kSets[] = {{"ideogram4",
                      "tests/reference/data",
                      {{"tokenizer", 2},
                       {"text_features", 10},
                       {"schedule", 5},
                       {"transformer", 6},
                       {"vae_decode", 2},
                       {"pipeline", 6}}},
                     {"z_image",
                      "tests/reference/z_image",
                      {{"tokenizer", 2},
                       {"text_features", 10},
                       {"schedule", 6},
                       {"transformer", 6},
                       {"vae_decode", 2},
                       {"vae_encode", 4},
                       {"pipeline", 14}}},
                     {"flux2_klein",
                      "tests/reference/flux2_klein",
                      {{"tokenizer", 2},
                       {"text_features", 9},
                       {"schedule", 6},
                       {"transformer", 6},
                       {"vae_decode", 2},
                       {"vae_encode", 4},
                       {"pipeline", 12}}},
                     {"qwen_image",
                      "tests/reference/qwen_image",
                      {{"tokenizer", 2},
                       {"text_features", 10},
                       {"schedule", 5},
                       {"transformer", 6},
                       {"vae_decode", 2},
                       {"vae_encode", 4},
                       {"pipeline", 12}}},
                     {"krea2",
                      "tests/reference/krea2",
                      {{"tokenizer", 2},
                       {"text_features", 9},
                       {"schedule", 5},
                       {"transformer", 6},
                       {"vae_decode", 2},
                       {"vae_encode", 4},
                       {"pipeline", 12}}}};

INSTANTIATE_TEST_SUITE_P(Precisions, Verify,
                         testing::Combine(testing::Values(Precision::kFp32, Precision::kBf16,
                                                          Precision::kInt8,
                                                          Precision::kInt8Dequant),
                                          testing::ValuesIn(kSets)),
                         [](const auto& info) {
                           std::string name(precision_name(std::get<0>(info.param)));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name + "_" + std::get<1>(info.param).name;
                         });

}  // namespace
}  // namespace intaglio
