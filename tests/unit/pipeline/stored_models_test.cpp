// Pictures of a model whose parts come from checkpoints of other programs.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/relative_error.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

std::vector<float> latents(const ModelPaths& parts, Precision precision) {
  ModelPaths paths = parts;
  paths.folder = test::source_path("tests/reference/data/tiny");
  paths.without_unconditional = true;
  const auto model = open_model(paths);
  if (!model) throw std::runtime_error(model.error().message);
  const auto pipeline =
      Pipeline::open(*model, {.selection = {.precision = precision}, .threads = 2});
  if (!pipeline) throw std::runtime_error(pipeline.error().message);
  PictureRequest request;
  request.prompt = "a lighthouse at dusk";
  request.height = request.width = 256;
  request.steps = 2;
  request.guidance = {1.0f, 1.0f};
  const auto picture = (*pipeline)->generate(request, {}, nullptr);
  if (!picture) throw std::runtime_error(picture.error().message);
  return picture->latents;
}

std::filesystem::path part(const std::string& name) {
  return test::source_path("tests/formats/" + name);
}

// The official FP8 and NF4 checkpoints of the model that lies in bf16 in tests/reference: shards,
// a flagged text encoder, and whole transformers. What they draw lies near it, as far as their bits
// let it; the text and the other parts are those of the folder.
TEST(StoredModels, OfficialCheckpointsDrawTheirModel) {
  const ModelPaths fp8{.transformer = part("ideogram_fp8/transformer"),
                       .text_encoder = part("ideogram_fp8/text_encoder")};
  const ModelPaths nf4{.transformer = part("bnb_nf4/transformer")};
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    const std::vector<float> own = latents({}, precision);
    const double of_fp8 = relative_error(latents(fp8, precision), own);
    const double of_nf4 = relative_error(latents(nf4, precision), own);
    EXPECT_GT(of_fp8, 1e-4);
    EXPECT_LT(of_fp8, 0.1);
    EXPECT_GT(of_nf4, 1e-4);
    EXPECT_LT(of_nf4, 0.2);
  }
}

}  // namespace
}  // namespace intaglio
