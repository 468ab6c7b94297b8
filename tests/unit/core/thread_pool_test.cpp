#include "core/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

#include "core/parallel.h"
#include "core/sanitizers.h"

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

// What a piece throws, in whichever thread, reaches the caller, and the pool goes on.
TEST(ThreadPool, AnExceptionReachesTheCaller) {
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> thrown{0}, run{0};
    try {
      parallel_for(3, 50, 1, [&](int64_t begin, int64_t, int) {
        run.fetch_add(1);
        if (begin % 7 == round % 7) {
          thrown.fetch_add(1);
          throw std::bad_alloc();
        }
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::bad_alloc&) {
      EXPECT_GE(thrown.load(), 1);
      EXPECT_LE(run.load(), 50);
    }
    std::atomic<int> sum{0};
    parallel_for(3, 50, 1, [&](int64_t begin, int64_t end, int) {
      sum.fetch_add(static_cast<int>(end - begin));
    });
    ASSERT_EQ(sum.load(), 50);
  }
}

TEST(ThreadPool, AThreadThatCannotStartIsAnErrorWithItsCause) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the address space itself";
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit small{.rlim_cur = pages * 4096 + (uint64_t{40} << 20), .rlim_max = before.rlim_max};
  ThreadPool pool;
  ASSERT_EQ(setrlimit(RLIMIT_AS, &small), 0);
  const Status status = pool.start(200);
  setrlimit(RLIMIT_AS, &before);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(status.error().message.find("of 200 cannot start: "), std::string::npos)
      << status.error().message;
  EXPECT_NE(status.error().message.find("of address space (ulimit -v)"), std::string::npos)
      << status.error().message;
  // Loops run with those that did start.
  std::atomic<int> runs{0};
  pool.run(
      200, 1000,
      [](void* context, int64_t, int) { static_cast<std::atomic<int>*>(context)->fetch_add(1); },
      &runs);
  EXPECT_EQ(runs.load(), 1000);
  EXPECT_TRUE(pool.start(200));  // and later ones may start
}

}  // namespace
}  // namespace intaglio
