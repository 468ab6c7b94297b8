#include "server/job_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

using testing::ElementsAre;

QueuedJob job(const std::string& id, const std::string& load, const std::string& shape = "s",
              int priority = 0) {
  return {.id = id, .client = "c", .priority = priority, .key = {load, shape}};
}

// The ids in the order in which they are taken, `seconds` apart.
std::vector<std::string> drain(JobQueue& queue, DrawKey last, double seconds = 0) {
  std::vector<std::string> order;
  for (double now = 0; !queue.empty(); now += seconds) {
    const QueuedJob taken = queue.take(last, now);
    last = taken.key;
    order.push_back(taken.id);
  }
  return order;
}

TEST(JobQueue, PriorityThenAge) {
  JobQueue queue;
  queue.add(job("1", "a", "s", 0));
  queue.add(job("2", "a", "s", 9));
  queue.add(job("0", "a", "s", -1));
  queue.add(job("3", "a", "s", 9));
  EXPECT_EQ(queue.position("0"), 4);
  EXPECT_EQ(queue.position("none"), 0);
  EXPECT_THAT(drain(queue, {}), ElementsAre("2", "3", "1", "0"));
}

TEST(JobQueue, TheShapeAtWorkThenTheModelAtWorkGoFirst) {
  JobQueue queue;
  queue.add(job("1", "b"));
  queue.add(job("2", "a", "wide"));
  queue.add(job("3", "a", "tall"));
  queue.add(job("4", "a", "wide"));
  queue.add(job("5", "b"));
  EXPECT_THAT(drain(queue, {"a", "wide"}), ElementsAre("2", "4", "3", "1", "5"));
}

TEST(JobQueue, APriorityIsNeverOvertakenForAModel) {
  JobQueue queue;
  queue.add(job("1", "b", "s", 1));
  queue.add(job("2", "a", "s", 0));
  EXPECT_THAT(drain(queue, {"a", "s"}), ElementsAre("1", "2"));
}

TEST(JobQueue, NoneIsOvertakenMoreOftenThanTheBound) {
  JobQueue queue;
  queue.add(job("00", "b"));
  queue.add(job("01", "b"));
  for (int i = 10; i < 60; ++i) queue.add(job(std::to_string(i), "a"));
  const std::vector<std::string> order = drain(queue, {"a", "s"});
  EXPECT_EQ(std::find(order.begin(), order.end(), "00") - order.begin(), JobQueue::kMostOvertaken);
  EXPECT_EQ(order[JobQueue::kMostOvertaken + 1], "01");  // of the model at work now
}

TEST(JobQueue, NoneIsOvertakenLongerThanTheBound) {
  JobQueue queue;
  queue.add(job("0", "b"));
  for (int i = 1; i < 9; ++i) queue.add(job(std::to_string(i), "a"));
  // At 0 and 40 seconds one goes before it; at 80 it is too late for that.
  EXPECT_THAT(drain(queue, {"a", "s"}, 40),
              ElementsAre("1", "2", "0", "3", "4", "5", "6", "7", "8"));
}

TEST(JobQueue, CountsAndRemovesTheJobsOfAClient) {
  JobQueue queue;
  queue.add(job("1", "a"));
  QueuedJob other = job("2", "a");
  other.client = "other";
  queue.add(other);
  EXPECT_EQ(queue.of_client("c"), 1);
  EXPECT_EQ(queue.first_position_of("other"), 2);
  EXPECT_TRUE(queue.remove("1"));
  EXPECT_FALSE(queue.remove("1"));
  EXPECT_EQ(queue.first_position_of("other"), 1);
  EXPECT_EQ(queue.first_position_of("c"), 0);
}

}  // namespace
}  // namespace intaglio::server
