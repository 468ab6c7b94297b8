#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace intaglio {
namespace {

TEST(ThreadPool, ManyShortLoopsRunEveryPieceOnce) {
  ThreadPool pool;
  std::vector<std::atomic<int>> counts(97);
  for (int round = 0; round < 20000; ++round) {
    pool.run(
        4, static_cast<int64_t>(counts.size()),
        [](void* context, int64_t piece, int) {
          (*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<size_t>(piece)]
              .fetch_add(1);
        },
        &counts);
  }
  for (const auto& count : counts) ASSERT_EQ(count.load(), 20000);
}

TEST(ThreadPool, ResultsAreVisibleAfterTheLoop) {
  // Plain integers: a missing release or acquire shows here under the thread sanitizer.
  std::vector<int64_t> values(1000, 0);
  for (int64_t round = 1; round <= 200; ++round) {
    parallel_for(3, 1000, 7, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] += round;
    });
    ASSERT_EQ(values[999], round * (round + 1) / 2);
  }
}

TEST(ThreadPool, NestedAndConcurrentCallersFinish) {
  std::atomic<int64_t> sum{0};
  const auto body = [&] {
    for (int round = 0; round < 200; ++round) {
      parallel_for(4, 16, 1, [&](int64_t, int64_t, int) {
        parallel_for(4, 8, 1, [&](int64_t begin, int64_t end, int) { sum.fetch_add(end - begin); });
      });
    }
  };
  std::thread other(body);
  body();
  other.join();
  EXPECT_EQ(sum.load(), 2 * 200 * 16 * 8);
}

TEST(ThreadPool, NoTwoPiecesShareAThreadIndex) {
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> clash{false};
  for (int round = 0; round < 500; ++round) {
    parallel_for(4, 64, 1, [&](int64_t, int64_t, int thread) {
      if (inside[static_cast<size_t>(thread)].fetch_add(1) != 0) clash = true;
      inside[static_cast<size_t>(thread)].fetch_sub(1);
    });
  }
  EXPECT_FALSE(clash.load());
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  ThreadPool pool;
  std::atomic<int> runs{0};
  for (int round = 0; round < 5; ++round) {
    pool.run(
        3, 3,
        [](void* context, int64_t, int) { static_cast<std::atomic<int>*>(context)->fetch_add(1); },
        &runs);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than the spin: they sleep
  }
  EXPECT_EQ(runs.load(), 15);
}

}  // namespace
}  // namespace intaglio
