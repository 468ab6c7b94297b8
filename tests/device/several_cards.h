// What tests of one picture on several made-up cards share.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <utility>
#include <vector>

#include "device/double/device_double.h"
#include "pipeline/pipeline.h"

namespace intaglio::test {

inline DeviceDouble& device() { return DeviceDouble::instance(); }

inline PipelineOptions options_on_first_card(Precision precision) {
  PipelineOptions options{.selection = {.precision = precision, .keep_bf16 = {}}, .gpu = 0};
  options.threads = 1;
  return options;
}

inline std::vector<float> latents(Pipeline& pipeline, const PictureRequest& request) {
  const auto picture = pipeline.generate(request, {}, nullptr);
  EXPECT_TRUE(picture) << picture.error().message;
  return picture ? picture->latents : std::vector<float>();
}

inline void expect_nothing_left() {
  for (int card = 0; card < DeviceDouble::kDevices; ++card) {
    EXPECT_EQ(device().device(card).now, 0u) << card;
    EXPECT_EQ(device().device(card).blocks, 0) << card;
  }
  EXPECT_EQ(device().pinned().now, 0u);
  EXPECT_EQ(device().objects(), 0);
}

// Guided but for the last step.
inline PictureRequest guided_request(std::vector<int32_t> token_ids, int64_t steps) {
  PictureRequest r;
  r.token_ids = std::move(token_ids);
  r.width = r.height = 16;
  r.steps = steps;
  r.guidance.assign(static_cast<size_t>(steps), 3.0f);
  r.guidance.back() = 1.0f;
  r.seed = 7;
  return r;
}

// Stopped at any step: kCancelled, and the next picture is right.
inline void expect_stops_at_every_step(Pipeline& pipeline, const PictureRequest& request) {
  const std::vector<float> expected = latents(pipeline, request);
  for (int64_t step = 0; step < request.steps; ++step) {
    std::atomic<bool> cancel = false;
    const auto stopped = pipeline.generate(
        request,
        [&](const PictureProgress& p) {
          if (p.phase == Phase::kDenoise && p.done == step) cancel = true;
        },
        &cancel);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
    EXPECT_EQ(latents(pipeline, request), expected);
  }
}

inline StepMask mask_of(const char* first, const char* second) {
  return {.name = "test",
          .order = 2,
          .passes = {parse_pass_work(first).value(), parse_pass_work(second).value()}};
}

}  // namespace intaglio::test
