// Nothing may change by accident: what the plans say of whole pictures on a card of 80 GB, against
// tests/pins/plans.txt. INTAGLIO_UPDATE_PINS=1 writes that file: say why in the commit.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "device/double/device_double.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

std::string line_of(std::string_view model, Precision precision, uint64_t budget, int64_t width,
                    int64_t height) {
  PipelineOptions options{.selection = {.precision = precision, .keep_bf16 = {}}};
  options.threads = 2;
  options.memory_limit = uint64_t{79} << 30;
  options.vram_budget = budget;
  options.gpu = 0;
  std::string line = fmt::format("{} {} {}x{} budget {}: ", model, precision_name(precision), width,
                                 height, budget);
  const auto pipeline = Pipeline::open(synthetic_model(model).value(), options);
  if (!pipeline) return line + pipeline.error().message;
  PictureRequest request;
  request.token_ids = std::vector<int32_t>(77, 5);
  request.width = width;
  request.height = height;
  request.steps = 20;
  request.guidance.assign(20, 7.0f);
  const auto plan = (*pipeline)->plan(request);
  if (!plan) return line + plan.error().message;
  return line + fmt::format("peak {} streamed {} tokens {}+{}", plan->peak_bytes(),
                            plan->streamed_bytes(), plan->text_tokens(), plan->image_tokens());
}

TEST(PlanPins, AreWhatTheyWere) {
  test::DeviceDouble::instance().restart();
  const std::string path = test::source_path("tests/pins/plans.txt");
  std::vector<std::string> pinned;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) pinned.push_back(line);
  std::vector<std::string> now;
  const std::pair<int64_t, int64_t> sizes[] = {{256, 256}, {1024, 1536}};
  for (const char* model : {"mini", "ideogram4"}) {
    for (const auto& [width, height] : sizes) {
      for (const Precision precision : {Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant,
                                        Precision::kFp8, Precision::kNf4})
        for (const uint64_t budget :
             {uint64_t{0}, uint64_t{20'000'000'000}, uint64_t{12} << 30, uint64_t{4} << 30})
          now.push_back(line_of(model, precision, budget, width, height));
    }
  }
  for (const char* model : {"z-image", "flux2-klein-base-9b", "krea2-raw", "qwen-image"}) {
    for (const uint64_t budget : {uint64_t{0}, uint64_t{24'000'000'000}, uint64_t{12'000'000'000}})
      now.push_back(line_of(model, Precision::kInt8, budget, 1328, 1328));
  }
  if (std::getenv("INTAGLIO_UPDATE_PINS") != nullptr) {
    std::ofstream update(path);
    for (const std::string& line : now) update << line << "\n";
    return;
  }
  ASSERT_EQ(now.size(), pinned.size());
  for (size_t i = 0; i < now.size(); ++i) {
    // What streams must fit into the memory of the machine, here and where it was pinned.
    constexpr std::string_view kMachine = "from host memory";
    if (now[i].find(kMachine) == std::string::npos &&
        pinned[i].find(kMachine) == std::string::npos) {
      EXPECT_EQ(now[i], pinned[i]);
    }
  }
}

}  // namespace
}  // namespace intaglio
