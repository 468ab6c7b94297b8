#include "models/parts/schedules.h"

#include <gtest/gtest.h>

#include <cmath>

namespace intaglio {
namespace {

TEST(Schedules, ShiftMapsEachSigmaAndAppendsZero) {
  const std::vector<float> shifted = shifted_sigmas({0.75f, 0.5f}, 3.0);
  ASSERT_EQ(shifted.size(), 3u);
  EXPECT_FLOAT_EQ(shifted[0], 3.0f * 0.75f / (1.0f + 2.0f * 0.75f));
  EXPECT_FLOAT_EQ(shifted[1], 0.75f);
  EXPECT_EQ(shifted[2], 0.0f);
  EXPECT_EQ(shifted_sigmas({0.3f}, 1.0).front(), 0.3f);
}

TEST(FlowMatch, StretchesToItsTerminal) {
  FlowMatchScheduler scheduler;
  scheduler.shift = 3.0;
  scheduler.terminal = 0.02;
  const std::vector<float> sigmas = flow_match_sigmas(scheduler, 5, 256);
  ASSERT_EQ(sigmas.size(), 6u);
  EXPECT_FLOAT_EQ(sigmas[0], 1.0f);
  EXPECT_FLOAT_EQ(sigmas[4], 0.02f);
  EXPECT_EQ(sigmas[5], 0.0f);
}

// At the two lengths of the line mu is what the config says there.
TEST(FlowMatch, DynamicShiftsLieOnALine) {
  FlowMatchScheduler scheduler;
  scheduler.dynamic = true;
  const auto half = [&](int64_t tokens) { return flow_match_sigmas(scheduler, 2, tokens)[1]; };
  EXPECT_FLOAT_EQ(half(256), static_cast<float>(std::exp(0.5) / (std::exp(0.5) + 1.0)));
  EXPECT_FLOAT_EQ(half(4096), static_cast<float>(std::exp(1.15) / (std::exp(1.15) + 1.0)));
  scheduler.linear = true;
  EXPECT_FLOAT_EQ(half(4096), static_cast<float>(1.15 / 2.15));
}

TEST(FlowMatch, ConfigsThatCannotBeAreRefused) {
  for (const char* bad :
       {R"({"shift": 0})", R"({"shift": -1})", R"({"time_shift_type": "cubic"})",
        R"({"shift_terminal": 1})", R"({"base_image_seq_len": 4096})", R"({"max_shift": "a"})"})
    EXPECT_FALSE(read_flow_match_scheduler(*JsonConfig::parse(bad, "scheduler_config.json")))
        << bad;
}

}  // namespace
}  // namespace intaglio
