// Exchanges between made-up cards: whoever fails or is stopped, all come to an end.
#include "advice/measure_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <list>

#include "device/several_cards.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using test::device;
using test::expect_nothing_left;

struct Ranks {
  explicit Ranks(const std::vector<int>& gpus) {
    for (const int gpu : gpus) {
      opened.push_back(open_device(gpu, 1).value());
      contexts.push_back(&opened.back().context);
    }
    group = make_linked_group(contexts).value();
  }
  std::list<DeviceContext> opened;
  std::vector<const Context*> contexts;
  std::unique_ptr<CollectiveGroup> group;
};

TEST(MeasureLink, EveryRoundIsTimed) {
  for (const bool peers : {true, false}) {
    device().restart();
    device().set_peers(peers);
    {
      Ranks ranks({0, 1});
      const auto timed = time_exchange(ranks.contexts, *ranks.group, 5000, 3);
      ASSERT_TRUE(timed) << timed.error().message;
      EXPECT_EQ(timed->ms.size(), 3u);
      for (const double ms : timed->ms) EXPECT_GT(ms, 0.0);
      EXPECT_DOUBLE_EQ(timed->gb_s(1.0), 5e-3);
    }
    expect_nothing_left();
  }
}

TEST(MeasureLink, TheRateIsOutOfARank) {
  const TimedExchange timed{.bytes = 1000000, .ranks = 4, .ms = {}};
  EXPECT_DOUBLE_EQ(timed.gb_s(2.0), 1.5);  // 3 MB in 2 ms
}

// Each of the calls to the devices fails once.
TEST(MeasureLink, AFailingCallEndsAllRanks) {
  int64_t failed = 0;
  for (int64_t call = 0; call < 40; ++call) {
    device().restart();
    {
      Ranks ranks({0, 1});
      device().fail_call(call);
      const auto timed = time_exchange(ranks.contexts, *ranks.group, 5000, 1);
      if (!device().has_failed()) break;
      ++failed;
      ASSERT_FALSE(timed) << device().failed_call();
      EXPECT_NE(timed.error().code, ErrorCode::kCancelled) << device().failed_call();
    }
    expect_nothing_left();
  }
  EXPECT_GT(failed, 10);
}

TEST(MeasureLink, AStopIsHeard) {
  device().restart();
  Ranks ranks({0, 1});
  const std::atomic<bool> stop = true;
  for (DeviceContext& rank : ranks.opened) rank.context.cancel = &stop;
  const auto timed = time_exchange(ranks.contexts, *ranks.group, 5000, 1);
  ASSERT_FALSE(timed);
  EXPECT_EQ(timed.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace intaglio
