// Checkpoints of other formats against their expected numbers, and against wrong ones.
#include "verify/verify_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<VerifyResult> results_of(const fs::path& folder) {
  std::vector<VerifyResult> reported;
  auto results = verify_directory(folder, {.selection = {}, .threads = 2},
                                  [&](const VerifyResult& one) { reported.push_back(one); });
  EXPECT_TRUE(results) << results.error().message;
  EXPECT_EQ(reported.size(), results->size());
  return reported;
}

size_t count(const std::vector<VerifyResult>& results, Verdict verdict) {
  return static_cast<size_t>(std::count_if(
      results.begin(), results.end(), [&](const VerifyResult& r) { return r.verdict == verdict; }));
}

fs::path suite() { return test::source_path("tests/formats"); }

TEST(VerifyFormats, AFolderOfTheSuitePasses) {
  EXPECT_TRUE(has_format_cases(suite()));
  EXPECT_FALSE(has_format_cases(suite() / "bad"));
  const std::vector<VerifyResult> results = results_of(suite() / "sdnq_int8_hadamard");
  EXPECT_EQ(results.size(), 20u);  // ten linears
  EXPECT_EQ(count(results, Verdict::kPass), 20u);
  EXPECT_EQ(results.front().stage, "weights");
  EXPECT_EQ(results.front().name, "sdnq_int8_hadamard/model layers.0.attention.to_k");
  EXPECT_EQ(results[1].stage, "products");
}

// One scale of the last linear is another: that linear fails, by its products at least.
TEST(VerifyFormats, AWrongNumberFails) {
  const TempFolder folder;
  fs::copy(suite() / "comfy_fp8_scaled", folder.path() / "x", fs::copy_options::recursive);
  const fs::path file = folder.path() / "x" / "wide.safetensors";
  const auto opened = SafetensorsFile::open(file);
  const TensorEntry* const scale = (*opened)->find("wide.2.weight_scale");
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(scale->at));
  const float wrong = 1.0f;
  stream.write(reinterpret_cast<const char*>(&wrong), sizeof(wrong));
  stream.close();
  const std::vector<VerifyResult> results = results_of(folder.path());
  EXPECT_EQ(count(results, Verdict::kFail), 2u);
  for (const VerifyResult& one : results) {
    EXPECT_EQ(one.verdict == Verdict::kFail, one.name == "x/wide wide.2") << one.name;
    if (one.verdict == Verdict::kFail) EXPECT_GT(one.error, one.tolerance);
  }
}

TEST(VerifyFormats, AFileThatIsNotThereFails) {
  const TempFolder folder;
  fs::copy(suite() / "quanto_int8", folder.path() / "x", fs::copy_options::recursive);
  fs::remove(folder.path() / "x" / "model.safetensors");
  const std::vector<VerifyResult> results = results_of(folder.path() / "x");
  EXPECT_EQ(count(results, Verdict::kFail), 20u);
  for (const VerifyResult& one : results) EXPECT_THAT(one.detail, HasSubstr("model"));
}

}  // namespace
}  // namespace intaglio
