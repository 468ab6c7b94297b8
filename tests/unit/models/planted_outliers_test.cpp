// Outliers planted into the bundled model without a change of its function: what each scheme of
// `intaglio quantize` loses to them, and what smoothing wins back.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>

#include "core/philox.h"
#include "core/relative_error.h"
#include "io/safetensors_writer.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "quantize/fit.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr float kOutlier = 50.0f;

using Matrix = std::vector<float>;

class PlantedOutliersTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.threads = 2;
    context_.cpu = host_cpu_features();
    checkpoint_ = Checkpoint::open(mini_ / "transformer").value();
    for (const TensorEntry* const entry : checkpoint_->tensors())
      tensors_[entry->name] = read_floats(*entry).value();
  }

  int64_t columns(const std::string& name) const { return checkpoint_->find(name)->view.shape[1]; }

  // Every hundredth column of the inputs of these linears, all of [.., k], grows by the outlier and
  // its weights shrink by it.
  void shrink_columns(const std::string& linear) {
    Matrix& w = tensors_.at(linear + ".weight");
    const int64_t k = columns(linear + ".weight");
    for (size_t i = 0; i < w.size(); ++i)
      if (static_cast<int64_t>(i) % k % 100 == 7) w[i] /= kOutlier;
  }
  void grow_vector(const std::string& name) {
    Matrix& v = tensors_.at(name);
    for (size_t c = 7; c < v.size(); c += 100) v[c] *= kOutlier;
  }
  void grow_rows(const std::string& linear) {
    Matrix& w = tensors_.at(linear + ".weight");
    const int64_t k = columns(linear + ".weight");
    for (size_t i = 0; i < w.size(); ++i)
      if (static_cast<int64_t>(i) / k % 100 == 7) w[i] *= kOutlier;
  }
  void plant() {
    for (int layer = 1; layer < 7; ++layer) {
      const std::string at = "layers." + std::to_string(layer) + ".";
      grow_vector(at + "attention_norm1.weight");
      for (const char* const name : {"to_q", "to_k", "to_v"})
        shrink_columns(at + "attention." + name);
      grow_rows(at + "attention.to_v");
      shrink_columns(at + "attention.to_out.0");
      grow_vector(at + "ffn_norm1.weight");
      for (const char* const name : {"w1", "w3"}) shrink_columns(at + "feed_forward." + name);
      grow_rows(at + "feed_forward.w3");
      shrink_columns(at + "feed_forward.w2");
    }
  }

  // F32, so that what is planted and compensated leaves the function as it was.
  fs::path write_floats(const std::string& name) {
    std::vector<TensorEntry> entries;
    for (const auto& [tensor, values] : tensors_) {
      entries.push_back(
          {.name = tensor, .view = {nullptr, DType::kF32, checkpoint_->find(tensor)->view.shape}});
    }
    const fs::path file = temp_.path() / name;
    SafetensorsWriter writer = SafetensorsWriter::begin(file, entries, {}, "").value();
    for (const auto& [tensor, values] : tensors_)
      EXPECT_TRUE(writer.write(std::as_bytes(std::span(values))));
    EXPECT_TRUE(writer.commit());
    return file;
  }

  cli::FittedPart fit(const fs::path& source, bool smooth, int64_t group) {
    std::vector<cli::FittedPart> parts(1);
    parts[0].checkpoint = Checkpoint::open(source).value();
    parts[0].options.scheme = group > 0 ? QuantizeScheme::kConvRot : QuantizeScheme::kRow;
    if (!smooth) return parts[0];
    cli::FitRequest request = cli::fit_request({.steps = 2}, smooth, group).value();
    request.calibration.prompts.resize(2);
    request.calibration.width = request.calibration.height = side_;
    const auto model = open_model(ModelPaths{.folder = mini_, .transformer = source}).value();
    cli::Progress progress(cli::Verbosity::kQuiet);
    const Status fitted = cli::fit_parts(context_, *model, request, 0, parts, progress);
    EXPECT_TRUE(fitted) << fitted.error().message;
    return parts[0];
  }

  fs::path quantize(const fs::path& source, const std::string& name, bool smooth, int64_t group) {
    const cli::FittedPart part = fit(source, smooth, group);
    const CheckpointQuantizer quantizer =
        CheckpointQuantizer::plan(part.checkpoint, part.options).value();
    const fs::path file = temp_.path() / name;
    const auto report = quantizer.write(context_, file, [](int64_t, int64_t) {});
    EXPECT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->smoothed > 0, smooth);
    return file;
  }

  // Of the first step from noise, unguided, of several pictures one after the other: what the
  // transformer says.
  std::vector<float> velocity(const fs::path& transformer, Precision precision) {
    const auto model = open_model(ModelPaths{.folder = mini_, .transformer = transformer}).value();
    PipelineOptions options;
    options.selection.precision = precision;
    options.threads = 2;
    const auto pipeline = Pipeline::open(model, options).value();
    const ModelInfo& info = model->info();
    std::vector<float> all;
    uint64_t seed = 3;
    for (const char* const prompt :
         {"a red apple", "the word \"HELLO\" in black serif letters", "a cat above a guitar",
          "three green fish on a yellow background"}) {
      PictureRequest request{.prompt = prompt,
                             .negative_prompt = {},
                             .token_ids = {},
                             .width = side_,
                             .height = side_,
                             .steps = 1,
                             .guidance = {info.no_guidance},
                             .mu = info.default_mu,
                             .std = info.default_std,
                             .max_sequence_length = {},
                             .seed = seed,
                             .noise = {}};
      // Nothing is decoded: the call ends once the step has said where it leads to.
      std::atomic<bool> cancel{false};
      std::vector<float> latents;
      const StepEstimates first{.after = {1}, .take = [&](const StepEstimate& estimate) {
                                  latents.assign(estimate.latents.begin(), estimate.latents.end());
                                  cancel = true;
                                }};
      const auto ended = pipeline->generate(pipeline->plan(request).value(), {}, &cancel, first);
      EXPECT_EQ(ended.error().code, ErrorCode::kCancelled);
      std::vector<float> noise(latents.size());
      fill_normal(seed++, noise.data(), static_cast<int64_t>(noise.size()));
      for (size_t i = 0; i < latents.size(); ++i) all.push_back(latents[i] - noise[i]);
    }
    return all;
  }

  // dB
  double snr(const fs::path& transformer, Precision precision = Precision::kInt8) {
    return -20.0 * std::log10(relative_error(velocity(transformer, precision), exact_));
  }

  Context context_;
  TempFolder temp_;
  fs::path mini_ = test::source_path("models/mini");
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::map<std::string, Matrix> tensors_;
  int64_t side_ = 256;        // the model's own
  std::vector<float> exact_;  // velocity of the model as it is, in F32
};

TEST_F(PlantedOutliersTest, SmoothingWinsBackWhatRowsLose) {
  const fs::path clean = write_floats("clean.safetensors");
  exact_ = velocity(clean, Precision::kFp32);
  plant();
  const fs::path planted = write_floats("planted.safetensors");
  // The function is what it was, to F32's rounding.
  EXPECT_GT(snr(planted, Precision::kFp32), 90.0);

  const double before = snr(quantize(clean, "clean_row.safetensors", false, 0));
  const double row = snr(quantize(planted, "row.safetensors", false, 0));
  const double smooth = snr(quantize(planted, "smooth.safetensors", true, 0));
  const double turned = snr(quantize(planted, "convrot.safetensors", false, 256));
  const double both = snr(quantize(planted, "both.safetensors", true, 256));
  SCOPED_TRACE(
      fmt::format("SNR of the velocity in dB: {:.1f} without outliers; row {:.1f}, smooth "
                  "{:.1f}, convrot {:.1f}, convrot+smooth {:.1f}",
                  before, row, smooth, turned, both));
  const double lost = before - row;
  EXPECT_GT(lost, 10.0);
  // Shares of what is lost, each a decibel or more below what is measured: processors with and
  // without vdpbf16ps round floats otherwise, which is worth as much.
  EXPECT_GE(smooth, row + 0.85 * lost);
  // A rotation spreads an outlier over its group and leaves it there: 384 columns are turned in
  // groups of 64, each of which then has an eighth of it.
  EXPECT_GE(turned, row + 0.6 * lost);
  EXPECT_GE(both, row + 0.9 * lost);
  // Both of them, but for what one draw of the noise is worth.
  EXPECT_GE(both, std::max(smooth, turned) - 0.5);
}

// What smoothing does to the weights, done to floats: the model draws what it drew.
TEST_F(PlantedOutliersTest, SmoothingLeavesTheFunctionAsItIs) {
  side_ = 64;  // a function is the same at every size
  const fs::path clean = write_floats("clean.safetensors");
  exact_ = velocity(clean, Precision::kFp32);
  const auto smoothing = fit(clean, true, 0).options.smoothing;
  ASSERT_NE(smoothing, nullptr);
  // All that a fold can be of: a norm before q, k and v, the rows of v, those of w3.
  for (const char* const name : {"attention.to_q", "attention.to_out.0", "feed_forward.w2"})
    EXPECT_TRUE(smoothing->columns.contains(std::string("layers.3.") + name)) << name;
  for (const auto& [name, factors] : smoothing->columns) {
    Matrix& w = tensors_.at(name + ".weight");
    for (size_t i = 0; i < w.size(); ++i) w[i] *= factors[i % factors.size()];
  }
  for (const auto& [name, factors] : smoothing->rows) {
    Matrix& w = tensors_.at(name + ".weight");
    const size_t k = w.size() / factors.size();
    for (size_t i = 0; i < w.size(); ++i) w[i] /= factors[i / k];
  }
  for (const auto& [name, values] : smoothing->vectors) tensors_.at(name) = values;
  EXPECT_GT(snr(write_floats("folded.safetensors"), Precision::kFp32), 90.0);
}

}  // namespace
}  // namespace intaglio
