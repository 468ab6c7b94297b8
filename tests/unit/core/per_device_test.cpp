// One value a device, each made once, whoever asks first.
#include "core/per_device.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <thread>
#include <vector>

namespace intaglio {
namespace {

// What a kernel launcher would learn of a device: a fake one's limit.
struct Limit {
  int bytes = 0;
};

TEST(PerDevice, TheSecondDeviceIsAskedToo) {
  PerDevice<Limit> limits;
  std::vector<int> asked;
  const auto limit_of = [&](int ordinal) {
    return limits
        .get(ordinal,
             [&] {
               asked.push_back(ordinal);
               return std::make_unique<Limit>(Limit{1000 + ordinal});
             })
        .bytes;
  };
  EXPECT_EQ(limit_of(1), 1001);
  EXPECT_EQ(limit_of(0), 1000);
  EXPECT_EQ(limit_of(1), 1001);
  EXPECT_EQ(limit_of(0), 1000);
  EXPECT_EQ(asked, (std::vector<int>{1, 0}));
}

TEST(PerDevice, ValuesKeepTheirPlace) {
  PerDevice<Limit> limits;
  const auto make = [] { return std::make_unique<Limit>(); };
  Limit* const first = &limits.get(0, make);
  for (int ordinal = 1; ordinal < 64; ++ordinal) limits.get(ordinal, make);
  EXPECT_EQ(&limits.get(0, make), first);
}

TEST(PerDevice, ThreadsThatAskAtOnceMakeItOnce) {
  PerDevice<Limit> limits;
  std::atomic<int> made[4] = {};
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 400; ++i) {
        const int ordinal = (i + t) % 4;
        const Limit& limit = limits.get(ordinal, [&] {
          ++made[ordinal];
          return std::make_unique<Limit>(Limit{ordinal});
        });
        if (limit.bytes != ordinal) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& count : made) EXPECT_EQ(count, 1);
  EXPECT_EQ(wrong, 0);
}

// Device 0 is not ready before device 1 is.
TEST(PerDevice, ASlowDeviceKeepsNoOtherWaiting) {
  PerDevice<Limit> limits;
  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false, other_is_done = false;
  std::thread slow([&] {
    limits.get(0, [&] {
      std::unique_lock lock(mutex);
      begun = true;
      changed.notify_all();
      changed.wait(lock, [&] { return other_is_done; });
      return std::make_unique<Limit>();
    });
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return begun; });
  }
  limits.get(1, [] { return std::make_unique<Limit>(); });
  {
    const std::scoped_lock lock(mutex);
    other_is_done = true;
  }
  changed.notify_all();
  slow.join();
}

}  // namespace
}  // namespace intaglio
