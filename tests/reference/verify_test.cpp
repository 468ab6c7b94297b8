// Every stage against the tensors of the published code, at every precision.
#include "verify/verify.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "support/source_folder.h"

namespace intaglio {
namespace {

class Verify : public testing::TestWithParam<Precision> {};

TEST_P(Verify, PublishedTensors) {
  const auto results = verify_directory(
      test::source_path("tests/reference/data"),
      {.selection = LayerSelection{.precision = GetParam(), .keep_bf16 = {}}, .threads = 2}, {});
  ASSERT_TRUE(results) << results.error().message;
  std::map<std::string, int> passed;
  for (const VerifyResult& r : *results) {
    EXPECT_NE(r.verdict, Verdict::kFail) << r.stage << " " << r.name << ": error " << r.error
                                         << ", tolerance " << r.tolerance << " " << r.detail;
    if (r.verdict == Verdict::kPass) ++passed[r.stage];
  }
  // 10 prompts, 5 schedules, 3 + 3 transformer cases, 2 decodes, 3 pipelines (latents and picture): none may silently vanish.
  EXPECT_EQ(passed["tokenizer"], 1);
  EXPECT_EQ(passed["text_features"], 10);
  EXPECT_EQ(passed["schedule"], 5);
  EXPECT_EQ(passed["transformer"], 6);
  EXPECT_EQ(passed["vae_decode"], 2);
  EXPECT_EQ(passed["pipeline"], 6);
}

INSTANTIATE_TEST_SUITE_P(Precisions, Verify,
                         testing::Values(Precision::kFp32, Precision::kBf16, Precision::kInt8,
                                         Precision::kInt8Dequant),
                         [](const auto& info) {
                           std::string name(precision_name(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace intaglio
