// Every model on the device double, from the files of its reference set: the pictures are the
// CPU's, whether its weights are resident or stream, and take no more memory than was planned.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "core/relative_error.h"
#include "core/sanitizers.h"
#include "device/double/device_double.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using test::DeviceDouble;

class DeviceModels : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { DeviceDouble::instance().restart(); }

  // Guided but for the last step, with a negative prompt where the model takes one.
  PictureRequest request() const {
    PictureRequest r;
    r.prompt = "a red fox";
    r.width = 64;
    r.height = 48;
    r.guidance = {3.0f, 2.0f, model_->info().no_guidance};
    if (!model_->info().unguided_reason.empty()) r.guidance.assign(3, model_->info().no_guidance);
    r.steps = static_cast<int64_t>(r.guidance.size());
    r.seed = 7;
    return r;
  }

  std::unique_ptr<Pipeline> pipeline(std::optional<int> gpu, Precision precision,
                                     uint64_t budget = 0) const {
    PipelineOptions options{.selection = {.precision = precision, .keep_bf16 = {}}, .gpu = gpu};
    options.threads = 2;
    options.vram_budget = budget;
    auto opened = Pipeline::open(model_, options);
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
  }

  static std::vector<float> latents(Pipeline& pipeline, const PictureRequest& request) {
    const auto picture = pipeline.generate(request, {}, nullptr);
    EXPECT_TRUE(picture) << picture.error().message;
    return picture ? picture->latents : std::vector<float>();
  }

  std::shared_ptr<const Model> model_ =
      open_model({.folder = test::source_path(GetParam())}).value();
};

TEST_P(DeviceModels, PicturesAreThoseOfTheCpu) {
  // The GPU's sums are in another order; int8 scores and rows round differently where they tie.
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::kFp32, 1e-4}, {Precision::kInt8, 0.05}}) {
    if (kSanitized && precision == Precision::kFp32) continue;  // ten times as slow there
    const std::vector<float> expected = latents(*pipeline(std::nullopt, precision), request());
    const auto on_gpu = pipeline(0, precision);
    const std::vector<float> found = latents(*on_gpu, request());
    EXPECT_LT(relative_error(found, expected), tolerance) << precision_name(precision);
    // Another picture between, of one pass: what two passes share is made again.
    PictureRequest plain = request();
    plain.guidance.assign(3, model_->info().no_guidance);
    plain.height = 64;
    latents(*on_gpu, plain);
    EXPECT_EQ(latents(*on_gpu, request()), found) << precision_name(precision);
  }
}

TEST_P(DeviceModels, PicturesAreTheSameStreamed) {
  const std::vector<float> resident = latents(*pipeline(0, Precision::kInt8), request());
  // The least that it says it needs: everything streams.
  const auto refused = pipeline(0, Precision::kInt8, 1)->plan(request());
  ASSERT_FALSE(refused);
  const std::string& message = refused.error().message;
  const uint64_t least = std::stoull(message.substr(message.find('(') + 1));
  const auto streaming = pipeline(0, Precision::kInt8, least);
  const auto plan = streaming->plan(request());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_GT(plan->streamed_bytes(), 0u);
  EXPECT_EQ(latents(*streaming, request()), resident);
}

INSTANTIATE_TEST_SUITE_P(
    Tiny, DeviceModels,
    testing::Values("tests/reference/data/tiny", "tests/reference/z_image/tiny",
                    "tests/reference/flux2_klein/tiny", "tests/reference/krea2/tiny",
                    "tests/reference/qwen_image/tiny"),
    [](const auto& info) {
      const std::string folder = std::filesystem::path(info.param).parent_path().filename();
      return folder;
    });

}  // namespace
}  // namespace intaglio
