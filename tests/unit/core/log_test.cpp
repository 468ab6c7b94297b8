#include "core/log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support/scoped_environment.h"

namespace intaglio::test {
namespace {

class Log : public testing::Test {
 protected:
  void TearDown() override { set_log_callback({}); }
};

TEST_F(Log, MessagesReachTheCallback) {
  std::vector<std::pair<LogLevel, std::string>> messages;
  set_log_callback(
      [&](LogLevel level, std::string_view message) { messages.emplace_back(level, message); });
  log(LogLevel::kWarning, "{} of {}", 3, "four");
  log_message(LogLevel::kError, "{}");
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0], (std::pair{LogLevel::kWarning, std::string("3 of four")}));
  EXPECT_EQ(messages[1], (std::pair{LogLevel::kError, std::string("{}")}))
      << "a message is no format";
}

TEST_F(Log, SilentWithoutACallback) {
  int calls = 0;
  set_log_callback([&](LogLevel, std::string_view) { ++calls; });
  set_log_callback({});
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  log(LogLevel::kError, "nobody listens");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(calls, 0);
}

TEST_F(Log, ThreadsTakeTurns) {
  int inside = 0;
  bool together = false;
  int calls = 0;
  set_log_callback([&](LogLevel, std::string_view) {
    together = together || inside++ != 0;
    ++calls;
    --inside;
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 500; ++k) log(LogLevel::kDebug, "{}", k);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(calls, 2000);
  EXPECT_FALSE(together);
}

TEST(Trace, TopicsAreWholeWordsOfAList) {
  const ScopedEnvironment environment("INTAGLIO_TRACE", "dispatch,memory");
  EXPECT_TRUE(trace_enabled("dispatch"));
  EXPECT_TRUE(trace_enabled("memory"));
  EXPECT_FALSE(trace_enabled("disp"));
  EXPECT_FALSE(trace_enabled("dispatch,memory"));
  EXPECT_FALSE(trace_enabled("time"));
}

TEST(Trace, OffWithoutTheVariable) {
  const ScopedEnvironment environment("INTAGLIO_TRACE", nullptr);
  EXPECT_FALSE(trace_enabled("dispatch"));
}

}  // namespace
}  // namespace intaglio::test
