// Workers that are lost, stop, or lose Redis.
#include "server/redis_worker.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "unit/server/redis_bench.h"

namespace intaglio::server::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RedisWorkerTest : public RedisTest {};

TEST_F(RedisWorkerTest, GivesBackWhatItDrawsWhenItStops) {
  const auto service = server();
  Worker first, second;
  first.use_gate();
  start(first);
  const std::string id = submit(*service, asking_for("x"));
  first.gate.wait_for(1);
  std::thread stop([&] { first.worker->stop(std::chrono::milliseconds(0)); });
  while (service->get(id)->state == JobState::kRunning) first.gate.look();
  stop.join();
  EXPECT_EQ(service->get(id)->state, JobState::kQueued);
  EXPECT_EQ(service->get(id)->position, 1);
  start(second);
  EXPECT_EQ(end_of(*service, id).state, JobState::kDone);
  EXPECT_THAT(second.studio->drawn(), ElementsAre("x"));
}

TEST_F(RedisWorkerTest, RenewsItsLeaseWhileItDraws) {
  lease = std::chrono::milliseconds(150);
  const auto service = server();
  Worker first, second;
  first.use_gate();
  start(first);
  start(second);
  second.use_gate();
  const std::string id = submit(*service, asking_for("x"));
  wait_for_state(*service, id, JobState::kRunning);
  ::usleep(1'000'000);  // many leases, each of which was renewed
  EXPECT_EQ(service->get(id)->state, JobState::kRunning);
  first.gate.open();
  second.gate.open();
  EXPECT_EQ(end_of(*service, id).state, JobState::kDone);
  EXPECT_EQ(RedisJobs(client()).get(id).value()->fence, 1);
}

// Takes a job as a worker does that then says nothing more.
RedisJob take_and_vanish(const RedisJobs& jobs) {
  return jobs.take("lost", "", {"a", "b"}).value().value().job;
}

// Once its lease has ended.
void wait_for_return(const RedisJobs& jobs, const std::string& id) {
  while (jobs.get(id).value()->job.state != JobState::kQueued) ::usleep(10'000);
}

TEST_F(RedisWorkerTest, AnotherDrawsWhatALostOneHad) {
  lease = std::chrono::milliseconds(100);
  const auto service = server();
  const RedisJobs jobs(client());
  const std::string id = submit(*service, asking_for("x", 2));
  const RedisJob lost = take_and_vanish(jobs);
  EXPECT_EQ(lost.job.id, id);
  const JobPicture first{
      .index = 0, .seed = *lost.job.request.seed, .width = 16, .height = 16, .bytes = 5};
  ASSERT_TRUE(pictures()->put(picture_name(id, 0, lost.fence), "first").has_value());
  EXPECT_TRUE(jobs.add_picture(lost, first, {}).value());
  Worker worker;
  start(worker);
  const Job done = end_of(*service, id);
  EXPECT_EQ(done.state, JobState::kDone);
  // The picture that was there was not drawn again.
  EXPECT_THAT(worker.studio->drawn(), ElementsAre("x"));
  EXPECT_EQ(read_file(service->picture(id, 0)).value(), "first");
  EXPECT_EQ(read_file(service->picture(id, 1)).value(), made_up_png(done.request, 1));
  // And what the lost one says now is heard no more.
  EXPECT_FALSE(jobs.add_picture(lost, {.index = 1}, {}).value());
  EXPECT_FALSE(jobs.end(lost, JobState::kFailed, JobError{"io", "late"}).value());
  EXPECT_FALSE(jobs.give_back(id, lost.fence).value());
  EXPECT_EQ(jobs.renew("lost", id, lost.fence).value(), RedisJobs::Lease::kLost);
  EXPECT_EQ(service->get(id)->state, JobState::kDone);
}

// What it would draw without that field is another picture: the job ends, and says why, and the
// next is drawn.
TEST_F(RedisWorkerTest, AJobOfANewerServerEndsWithTheFieldThatIsUnknown) {
  const auto service = server();
  const std::string newer = submit(*service, asking_for("x"));
  const std::string next = submit(*service, asking_for("y"));
  const std::string key = fmt::format("{}job:{}", kRedisPrefix, newer);
  const auto redis_client = client();
  auto request = nlohmann::json::parse(redis_client->command({"HGET", key, "request"})->text);
  request["shine"] = 3;
  ASSERT_TRUE(redis_client->command({"HSET", key, "request", request.dump()}).has_value());
  EXPECT_EQ(service->list({}).size(), 2U);
  Worker worker;
  start(worker);
  const Job failed = end_of(*service, newer);
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.request.prompt, "x");
  ASSERT_TRUE(failed.error.has_value());
  EXPECT_EQ(failed.error->code, "unsupported");
  EXPECT_THAT(failed.error->message, HasSubstr("shine: unknown field"));
  EXPECT_EQ(end_of(*service, next).state, JobState::kDone);
  EXPECT_THAT(worker.studio->drawn(), ElementsAre("y"));
  EXPECT_EQ(RedisJobs(redis_client).get(newer).value()->fence, 1);
}

TEST_F(RedisWorkerTest, ALeaseEndsThoughTheClockJumpsBack) {
  lease = std::chrono::milliseconds(100);
  const auto service = server();
  const RedisJobs jobs(client());
  const std::string id = submit(*service, asking_for("x"));
  take_and_vanish(jobs);
  ASSERT_TRUE(jobs.sweep(std::nullopt).has_value());  // which notes the time
  redis->set_clock(-3600);
  for (int i = 0; i < 2000 && service->get(id)->state == JobState::kRunning; ++i) ::usleep(10'000);
  EXPECT_EQ(service->get(id)->state, JobState::kQueued);
}

TEST_F(RedisWorkerTest, OneThatWasClaimedMeanwhileIsFenced) {
  lease = std::chrono::milliseconds(100);
  const auto service = server();
  const RedisJobs jobs(client());
  const std::string id = submit(*service, asking_for("x"));
  const RedisJob lost = take_and_vanish(jobs);
  wait_for_return(jobs, id);
  const RedisJob next = take_and_vanish(jobs);
  EXPECT_EQ(next.job.id, id);
  EXPECT_EQ(next.fence, lost.fence + 1);
  EXPECT_FALSE(jobs.end(lost, JobState::kDone, std::nullopt).value());
  EXPECT_TRUE(jobs.end(next, JobState::kDone, std::nullopt).value());
  EXPECT_FALSE(jobs.end(next, JobState::kDone, std::nullopt).value());  // once
}

TEST_F(RedisWorkerTest, AJobThatLosesItsWorkersFails) {
  lease = std::chrono::milliseconds(100);
  const auto service = server();
  const RedisJobs jobs(client());
  const std::string id = submit(*service, asking_for("x"));
  take_and_vanish(jobs);
  wait_for_return(jobs, id);
  take_and_vanish(jobs);
  const Job job = end_of(*service, id);
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->code, "interrupted");
  EXPECT_THAT(job.error->message, HasSubstr("2 times"));
  EXPECT_FALSE(jobs.take("w", "", {"a"}).value().has_value());
}

TEST_F(RedisWorkerTest, ACancelledJobOfALostWorkerEnds) {
  lease = std::chrono::milliseconds(100);
  const auto service = server();
  const std::string id = submit(*service, asking_for("x"));
  take_and_vanish(RedisJobs(client()));
  EXPECT_TRUE(service->cancel(id));
  EXPECT_EQ(end_of(*service, id).state, JobState::kCancelled);
}

TEST_F(RedisWorkerTest, GoesOnWhileRedisIsAway) {
  const auto service = server();
  Worker worker;
  worker.use_gate();
  start(worker);
  const std::string id = submit(*service, asking_for("x"));
  worker.gate.wait_for(1);
  redis->kill();
  worker.gate.open();
  redis->start();
  EXPECT_EQ(end_of(*service, id).state, JobState::kDone);
  EXPECT_THAT(RedisJobs(client()).get(id).value()->attempts, 1);
}

TEST_F(RedisWorkerTest, DropsWhatItCannotStoreInItsLease) {
  lease = std::chrono::milliseconds(200);
  const auto service = server();
  Worker worker;
  worker.use_gate();
  start(worker);
  const std::string id = submit(*service, asking_for("x"));
  worker.gate.wait_for(1);
  redis->kill();
  worker.gate.open();
  ::usleep(1'000'000);  // longer than the lease
  redis->start();
  // The job is there, and is drawn anew.
  EXPECT_EQ(end_of(*service, id).state, JobState::kDone);
  EXPECT_EQ(RedisJobs(client()).get(id).value()->fence, 2);
}

TEST_F(RedisWorkerTest, AnErrorFailsTheJobWithItsReason) {
  const auto service = server();
  Worker worker;
  worker.studio->draw = [](const JobRequest&, int64_t, const DrawHooks&) -> Expected<DrawnPicture> {
    return make_error(ErrorCode::kOutOfMemory, "no room");
  };
  start(worker);
  const Job job = end_of(*service, submit(*service, asking_for("x")));
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->code, "out_of_memory");
  EXPECT_EQ(job.error->message, "no room");
}

TEST_F(RedisWorkerTest, ManyShareManyJobsEachOnce) {
  constexpr int kJobs = 60;
  const auto one = server(), two = server();
  Worker workers[3];
  for (Worker& worker : workers) start(worker);
  std::vector<std::string> ids;
  for (int i = 0; i < kJobs; ++i)
    ids.push_back(submit(i % 2 == 0 ? *one : *two, asking_for(std::to_string(i))));
  for (const std::string& id : ids) EXPECT_EQ(end_of(*two, id).state, JobState::kDone);
  std::vector<std::string> drawn;
  for (const Worker& worker : workers)
    for (const std::string& prompt : worker.studio->drawn()) drawn.push_back(prompt);
  EXPECT_EQ(drawn.size(), static_cast<size_t>(kJobs));
  EXPECT_EQ(std::set<std::string>(drawn.begin(), drawn.end()).size(), static_cast<size_t>(kJobs));
}

}  // namespace
}  // namespace intaglio::server::test
