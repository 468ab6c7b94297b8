// A loop that is asked to stop starts nothing more.
#include "core/parallel_tasks.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

TEST(parallel_tasks, runs_everything_when_nobody_asks_to_stop) {
  std::atomic<bool> cancel{false};
  for (const std::atomic<bool>* flag : {static_cast<const std::atomic<bool>*>(nullptr),
                                        static_cast<const std::atomic<bool>*>(&cancel)}) {
    Context context{.threads = 3, .cpu = {}};
    context.cancel = flag;
    std::atomic<int64_t> sum{0};
    EXPECT_TRUE(parallel_tasks(
        context, 1000, 7, [&](int64_t begin, int64_t end, int) { sum.fetch_add(end - begin); }));
    EXPECT_EQ(sum.load(), 1000);
  }
}

TEST(parallel_tasks, starts_nothing_after_the_flag_is_set) {
  for (const int threads : {1, 4}) {
    std::atomic<bool> cancel{false};
    Context context{.threads = threads, .cpu = {}};
    context.cancel = &cancel;
    std::atomic<int> begun{0}, begun_late{0};
    const Status status = parallel_tasks(context, 100000, 1, [&](int64_t, int64_t, int) {
      if (cancel.load()) begun_late.fetch_add(1);
      if (begun.fetch_add(1) == 9) cancel.store(true);
    });
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
    // A thread may have read the flag just before it was set.
    EXPECT_LE(begun_late.load(), threads);
    EXPECT_LE(begun.load(), 10 + threads);
    begun = 0;
    EXPECT_FALSE(
        parallel_tasks(context, 100, 1, [&](int64_t, int64_t, int) { begun.fetch_add(1); }));
    EXPECT_EQ(begun.load(), 0) << "set beforehand";
  }
}

}  // namespace
}  // namespace intaglio
