// Pictures on the device double: what is ordered between streams, what a failing call leaves, what
// stays behind.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "core/relative_error.h"
#include "core/sanitizers.h"
#include "device/double/device_double.h"
#include "device/written_model.h"
#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

using test::DeviceDouble;
using test::SideOrder;

DeviceDouble& device() { return DeviceDouble::instance(); }

const std::shared_ptr<const Model>& tiny_model() {
  static const std::shared_ptr<const Model> model = test::written_model(test::tiny_sizes());
  return model;
}

PictureRequest request_of(int64_t steps = 3) {
  PictureRequest r;
  r.token_ids = std::vector<int32_t>{5, 17, 3, 99, 42, 8};
  r.width = r.height = 16;
  r.steps = steps;
  r.guidance.assign(static_cast<size_t>(steps), 3.0f);
  r.guidance.back() = 1.0f;
  r.seed = 7;
  return r;
}

enum class Residency { kResident, kStreaming };

PipelineOptions options_of(Precision precision, Residency residency) {
  PipelineOptions options{.selection = {.precision = precision, .keep_bf16 = {}}, .gpu = 0};
  options.threads = 1;
  if (residency == Residency::kStreaming) {
    // The least that it says it needs: everything streams.
    options.vram_budget = 1;
    auto pipeline = Pipeline::open(tiny_model(), options);
    EXPECT_TRUE(pipeline);
    const auto plan = (*pipeline)->plan(request_of());
    EXPECT_FALSE(plan);
    const std::string& message = plan.error().message;
    options.vram_budget = std::stoull(message.substr(message.find('(') + 1));
  }
  return options;
}

Expected<Picture> draw(const PipelineOptions& options, int pictures = 1) {
  INTAGLIO_ASSIGN(const std::unique_ptr<Pipeline> pipeline, Pipeline::open(tiny_model(), options));
  Picture picture;
  for (int i = 0; i < pictures; ++i) {
    INTAGLIO_ASSIGN(picture, pipeline->generate(request_of(), {}, nullptr));
  }
  return picture;
}

void expect_nothing_left() {
  EXPECT_EQ(device().device().now, 0u);
  EXPECT_EQ(device().device().blocks, 0);
  EXPECT_EQ(device().pinned().now, 0u);
  EXPECT_EQ(device().objects(), 0);
}

class DevicePictures : public testing::TestWithParam<Precision> {
 protected:
  void SetUp() override { device().restart(); }
};

// The double computes what the CPU computes, so that what follows means something.
TEST_P(DevicePictures, AreThoseOfTheCpu) {
  PipelineOptions on_cpu{.selection = {.precision = Precision::kFp32, .keep_bf16 = {}}};
  on_cpu.threads = 1;
  const auto expected = draw(on_cpu);
  ASSERT_TRUE(expected) << expected.error().message;
  const auto drawn = draw(options_of(GetParam(), Residency::kResident));
  ASSERT_TRUE(drawn) << drawn.error().message;
  const double tolerance = GetParam() == Precision::kFp32  ? 1e-4
                           : GetParam() == Precision::kNf4 ? 0.3
                                                           : 0.05;
  EXPECT_LE(relative_error(drawn->latents, expected->latents), tolerance);
  expect_nothing_left();
}

// A side stream that does all it may at once, or nothing before it is waited for: the same numbers,
// if no wait between the streams is missing. The second picture of a pipeline replays what the
// first has recorded.
TEST_P(DevicePictures, AreTheSameInEveryOrder) {
  for (const Residency residency : {Residency::kResident, Residency::kStreaming}) {
    const PipelineOptions options = options_of(GetParam(), residency);
    std::vector<float> latents;
    for (const int pictures : {1, 2}) {
      for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
        device().restart(order);
        const auto drawn = draw(options, pictures);
        ASSERT_TRUE(drawn) << drawn.error().message;
        EXPECT_EQ(drawn->streamed_layers, residency == Residency::kStreaming ? 3 + 5 : 0);
        if (latents.empty()) latents = drawn->latents;
        EXPECT_EQ(drawn->latents, latents) << "pictures: " << pictures;
        expect_nothing_left();
      }
    }
  }
}

// A recording holds the places of its buffers: other sizes and prompts move them, and the picture
// that comes again is drawn at its own.
TEST_P(DevicePictures, AreTheSameWhateverCameBefore) {
  const PipelineOptions options = options_of(GetParam(), Residency::kResident);
  const auto expected = draw(options);
  ASSERT_TRUE(expected) << expected.error().message;
  const auto pipeline = Pipeline::open(tiny_model(), options).value();
  PictureRequest larger = request_of();
  larger.width = 48;
  PictureRequest longer = request_of();
  longer.token_ids->resize(40, 11);
  for (const PictureRequest& request : {request_of(), larger, request_of(), longer, request_of()}) {
    const auto drawn = pipeline->generate(request, {}, nullptr);
    ASSERT_TRUE(drawn) << drawn.error().message;
    if (request.width != 16 || request.token_ids->size() != 6) continue;
    EXPECT_EQ(drawn->latents, expected->latents);
  }
}

// Whether layers stream changes nothing of a picture.
TEST_P(DevicePictures, AreTheSameStreamed) {
  const auto resident = draw(options_of(GetParam(), Residency::kResident));
  const auto streamed = draw(options_of(GetParam(), Residency::kStreaming));
  ASSERT_TRUE(resident && streamed);
  EXPECT_EQ(resident->streamed_layers, 0);
  EXPECT_EQ(streamed->streamed_layers, 8);
  EXPECT_GT(streamed->streamed_bytes, 0u);
  EXPECT_EQ(resident->latents, streamed->latents);
  EXPECT_EQ(resident->planar, streamed->planar);
}

// Int8 values are a choice of their own beside int8 scores: another picture, near the same, in the
// memory that is planned; and none where no kernel has them.
TEST(DeviceInt8Values, PicturesAreNearThoseOfTheCpu) {
  device().restart();
  PipelineOptions options{.selection = {.precision = Precision::kFp32, .keep_bf16 = {}}};
  options.threads = 1;
  const auto expected = draw(options);
  ASSERT_TRUE(expected) << expected.error().message;
  const AttentionChoice int8_values{.scores = AttentionScores::kS8, .values = AttentionValues::kS8};
  options.attention = int8_values;
  const auto refused = draw(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "attention with int8 values needs a GPU of compute capability 8.0 or newer; the device "
            "is the CPU");
  options = options_of(Precision::kInt8, Residency::kResident);
  const auto int8_scores = draw(options);
  options.attention = int8_values;
  const auto drawn = draw(options);
  ASSERT_TRUE(int8_scores) << int8_scores.error().message;
  ASSERT_TRUE(drawn) << drawn.error().message;
  EXPECT_NE(drawn->latents, int8_scores->latents);
  EXPECT_LE(relative_error(drawn->latents, expected->latents), 0.05);
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(Precisions, DevicePictures,
                         testing::Values(Precision::kFp32, Precision::kBf16, Precision::kInt8,
                                         Precision::kInt8Dequant, Precision::kNf4),
                         [](const auto& info) {
                           std::string name(precision_name(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// Every call to the device fails once in turn: the picture fails with it, whatever was under way is
// over, nothing stays behind, and the same pipeline then draws what it would have drawn.
class FailingCalls : public testing::TestWithParam<Residency> {};

// A sanitizer makes each picture ten times as slow: there every 23rd call fails.
constexpr int64_t kStride = kSanitized ? 23 : 1;

TEST_P(FailingCalls, EndThePicture) {
  device().restart();
  const PipelineOptions options = options_of(Precision::kInt8, GetParam());
  const PictureRequest request = request_of();
  std::vector<float> latents;
  int64_t calls = 0;
  {
    device().restart();
    auto pipeline = Pipeline::open(tiny_model(), options);
    ASSERT_TRUE(pipeline);
    device().restart();
    const auto drawn = (*pipeline)->generate(request, {}, nullptr);
    ASSERT_TRUE(drawn) << drawn.error().message;
    latents = drawn->latents;
    calls = device().calls();
  }
  ASSERT_GT(calls, 300);
  int64_t failed = 0, marks = 0;
  for (int64_t call = 0; call < calls; call += kStride) {
    const bool draws_again = (call / kStride) % 32 == 0;  // the others are sizes and orders alone
    device().restart();
    device().set_computing(draws_again);
    auto pipeline = Pipeline::open(tiny_model(), options);
    ASSERT_TRUE(pipeline);
    device().restart(call % 64 < 32 ? SideOrder::kSideFirst : SideOrder::kSideLast);
    device().set_computing(draws_again);
    device().fail_call(call);
    const auto drawn = (*pipeline)->generate(request, {}, nullptr);
    ASSERT_TRUE(device().has_failed());
    if (device().failed_call().starts_with("mark: ")) {
      ASSERT_TRUE(drawn) << "call " << call << ": " << drawn.error().message;
      ++marks;
    } else {
      ASSERT_FALSE(drawn) << "call " << call << ", " << device().failed_call()
                          << ", failed unheard";
      ++failed;
    }
    ASSERT_EQ(device().unjoined_streams(), std::vector<int>{}) << "call " << call;
    if (draws_again) {
      const auto again = (*pipeline)->generate(request, {}, nullptr);
      ASSERT_TRUE(again) << "call " << call << ": " << again.error().message;
      ASSERT_EQ(again->latents, latents) << "after call " << call;
    }
    pipeline->reset();
    ASSERT_NO_FATAL_FAILURE(expect_nothing_left());
    ASSERT_FALSE(HasFailure()) << "call " << call << ", " << device().failed_call();
  }
  EXPECT_EQ(failed + marks, (calls + kStride - 1) / kStride);
  EXPECT_GT(failed, 300 / kStride);
}

INSTANTIATE_TEST_SUITE_P(Residencies, FailingCalls,
                         testing::Values(Residency::kResident, Residency::kStreaming),
                         [](const auto& info) {
                           return info.param == Residency::kResident ? "resident" : "streaming";
                         });

// Stopped at any step, in the middle of a pass: the copies are over, and the next picture is right.
TEST(DevicePictureStops, BetweenLayers) {
  device().restart();
  const PipelineOptions options = options_of(Precision::kInt8, Residency::kStreaming);
  const auto expected = draw(options);
  ASSERT_TRUE(expected) << expected.error().message;
  for (int64_t step = 0; step < 3; ++step) {
    auto pipeline = Pipeline::open(tiny_model(), options);
    ASSERT_TRUE(pipeline);
    std::atomic<bool> cancel = false;
    const auto stopped = (*pipeline)->generate(
        request_of(),
        [&](const PictureProgress& p) {
          if (p.phase == Phase::kDenoise && p.done == step) cancel = true;
        },
        &cancel);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
    EXPECT_EQ(device().unjoined_streams(), std::vector<int>{});
    const auto drawn = (*pipeline)->generate(request_of(), {}, nullptr);
    ASSERT_TRUE(drawn) << drawn.error().message;
    EXPECT_EQ(drawn->latents, expected->latents);
  }
  expect_nothing_left();
}

}  // namespace
}  // namespace intaglio
