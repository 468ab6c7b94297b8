#include "server/redis_job_service.h"

#include <gmock/gmock.h>

#include <set>

#include "core/files.h"
#include "unit/server/redis_bench.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RedisJobServiceTest : public RedisTest {};

TEST_F(RedisJobServiceTest, DrawsAndKeepsPictures) {
  const auto service = server();
  Worker worker;
  start(worker);
  const std::string id = submit(*service, asking_for("x", 2));
  const Job job = end_of(*service, id);
  EXPECT_EQ(job.state, JobState::kDone);
  ASSERT_EQ(job.pictures.size(), 2U);
  for (int64_t i = 0; i < 2; ++i) {
    EXPECT_EQ(job.pictures[i].seed, *job.request.seed + static_cast<uint64_t>(i));
    EXPECT_EQ(read_file(service->picture(id, i)).value(), made_up_png(job.request, i));
  }
  EXPECT_TRUE(service->picture(id, 2).empty());
  EXPECT_TRUE(service->picture("../../etc/passwd", 0).empty());
  const Job kept = service->get(id).value();
  EXPECT_EQ(kept.state, JobState::kDone);
  EXPECT_EQ(kept.progress.fraction, 1);
  EXPECT_GE(kept.started, kept.created);
  EXPECT_GE(kept.finished, kept.started);
  EXPECT_EQ(kept.client, "c");
}

TEST_F(RedisJobServiceTest, GoesByPriorityThenAcceptance) {
  const auto service = server();
  std::vector<std::string> ids;
  for (const auto& [prompt, priority] :
       {std::pair("1", 0), {"2", 5}, {"3", 0}, {"4", 5}, {"5", -1}}) {
    JobRequest request = asking_for(prompt);
    request.priority = priority;
    ids.push_back(submit(*service, request));
  }
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
  EXPECT_EQ(service->get(ids[0])->position, 3);
  EXPECT_EQ(service->get(ids[1])->position, 1);
  EXPECT_EQ(service->get(ids[4])->position, 5);
  Worker worker;
  start(worker);
  end_of(*service, ids[4]);
  EXPECT_THAT(worker.studio->drawn(), ElementsAre("2", "4", "1", "3", "5"));
}

// A model that is loaded goes on, but not for ever.
TEST_F(RedisJobServiceTest, GroupsByModelWithinBounds) {
  const auto service = server();
  JobRequest other = asking_for("b");
  other.model = "b";
  std::vector<std::string> ids{submit(*service, asking_for("first"))};
  const std::string overtaken = submit(*service, other);
  for (int i = 0; i < JobQueue::kMostOvertaken + 2; ++i)
    ids.push_back(submit(*service, asking_for("a")));
  Worker worker;
  start(worker);
  for (const std::string& id : ids) end_of(*service, id);
  end_of(*service, overtaken);
  const std::vector<std::string> drawn = worker.studio->drawn();
  EXPECT_EQ(std::find(drawn.begin(), drawn.end(), "b") - drawn.begin(),
            JobQueue::kMostOvertaken + 1);
}

TEST_F(RedisJobServiceTest, LimitsHoldOverAllServers) {
  limits.queued = 4;
  limits.queued_of_client = 2;
  const auto one = server(), two = server();
  submit(*one, asking_for("1"), "a");
  submit(*two, asking_for("2"), "a");
  const Accepted<Job> third = one->submit(asking_for("3"), "a");
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().reason, Refusal::Reason::kClientFull);
  EXPECT_GE(third.error().retry_after_seconds, 1);
  submit(*one, asking_for("3"), "b");
  const std::string last = submit(*two, asking_for("4"), "b");
  const Accepted<Job> fifth = one->submit(asking_for("5"), "c");
  ASSERT_FALSE(fifth.has_value());
  EXPECT_EQ(fifth.error().reason, Refusal::Reason::kFull);
  EXPECT_TRUE(one->cancel(last));
  submit(*two, asking_for("5"), "c");
}

TEST_F(RedisJobServiceTest, RefusesWhatCannotBeDrawn) {
  const auto service = server();
  JobRequest request = asking_for("x");
  request.model = "none";
  EXPECT_EQ(service->submit(request, "c").error().reason, Refusal::Reason::kNotFound);
  EXPECT_EQ(service->submit(asking_for(" "), "c").error().parameter, "prompt");
  request = asking_for("x");
  request.negative_prompt = std::string("a\0b", 3);  // which no PNG's text can hold
  EXPECT_EQ(service->submit(request, "c").error().parameter, "negative_prompt");
  EXPECT_TRUE(service->list({}).empty());
}

TEST_F(RedisJobServiceTest, CancelsWhatWaitsAndWhatAnotherDraws) {
  const auto one = server(), two = server();
  Worker worker;
  worker.use_gate();
  start(worker);
  const std::string running = submit(*one, asking_for("running"));
  worker.gate.wait_for(1);
  const std::string waiting = submit(*one, asking_for("waiting"));
  EXPECT_TRUE(two->cancel(waiting));
  EXPECT_EQ(end_of(*one, waiting).state, JobState::kCancelled);
  EXPECT_FALSE(one->cancel(waiting));
  EXPECT_TRUE(two->cancel(running));
  EventLog log;
  const uint64_t listener = one->listen(running, log.listener());
  while (!is_ended(one->get(running)->state)) worker.gate.look();
  EXPECT_EQ(log.wait_for_end(running).state, JobState::kCancelled);
  one->unlisten(listener);
  EXPECT_THAT(worker.studio->drawn(), ElementsAre("running"));
}

TEST_F(RedisJobServiceTest, EventsReachEveryServerInOrder) {
  const auto one = server(), two = server();
  EventLog log;
  two->listen("", log.listener());
  Worker worker;
  worker.use_gate();
  start(worker);
  JobRequest request = asking_for("x");
  request.previews = 1;
  const std::string id = submit(*one, request);
  log.wait_for_event([](const auto& e) { return e.kind == JobEvent::Kind::kProgress; });
  const auto preview =
      log.wait_for_event([](const auto& e) { return e.kind == JobEvent::Kind::kPreview; });
  EXPECT_EQ(*preview.preview, "preview");
  EXPECT_EQ(preview.job.progress.step, 1);
  EXPECT_GT(two->get(id)->progress.fraction, 0);
  worker.gate.open();
  log.wait_for_end(id);
  EXPECT_THAT(log.states_of(id),
              ElementsAre(JobState::kQueued, JobState::kRunning, JobState::kDone));
  const auto picture =
      log.wait_for_event([](const auto& e) { return e.kind == JobEvent::Kind::kPicture; });
  EXPECT_EQ(picture.job.pictures.size(), 1U);
  EXPECT_TRUE(two->remove(id));
  log.wait_for_event([](const auto& e) { return e.kind == JobEvent::Kind::kRemoved; });
}

TEST_F(RedisJobServiceTest, ListsAndSearches) {
  const auto service = server();
  std::vector<std::string> ids;
  for (const char* const prompt : {"an owl", "a fox", "OWLS at night"})
    ids.push_back(submit(*service, asking_for(prompt)));
  service->cancel(ids[1]);
  const auto found = [&](JobQuery query) {
    std::vector<std::string> prompts;
    for (const Job& job : service->list(query)) prompts.push_back(job.request.prompt);
    return prompts;
  };
  EXPECT_THAT(found({}), ElementsAre("OWLS at night", "a fox", "an owl"));
  EXPECT_THAT(found({.text = "owl"}), ElementsAre("OWLS at night", "an owl"));
  EXPECT_THAT(found({.text = "owl", .limit = 1}), ElementsAre("OWLS at night"));
  EXPECT_THAT(found({.state = JobState::kCancelled}), ElementsAre("a fox"));
  EXPECT_THAT(found({.before = ids[2], .limit = 1}), ElementsAre("a fox"));
  EXPECT_TRUE(found({.state = JobState::kDone}).empty());
}

TEST_F(RedisJobServiceTest, RemovesEndedJobsWithTheirPictures) {
  const auto service = server();
  Worker worker;
  worker.use_gate();
  start(worker);
  const std::string id = submit(*service, asking_for("x"));
  worker.gate.wait_for(1);
  EXPECT_FALSE(service->remove(id));
  worker.gate.open();
  end_of(*service, id);
  const std::filesystem::path file = service->picture(id, 0);
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_TRUE(service->remove(id));
  EXPECT_FALSE(service->get(id).has_value());
  EXPECT_FALSE(std::filesystem::exists(file.parent_path()));
  EXPECT_EQ(service->listen(id, [](const JobEvent&) {}), 0U);
}

TEST_F(RedisJobServiceTest, PicturesToBeginFromReachOtherMachines) {
  const auto service = server(), other = server();
  Worker worker;
  std::vector<int> inits;
  worker.studio->draw = [&](const JobRequest& request, int64_t index,
                            const DrawHooks& hooks) -> Expected<DrawnPicture> {
    inits.push_back(hooks.init == nullptr ? -1 : hooks.init->image.pixels[0]);
    return MadeUpDrawer::picture(request, index);
  };
  const std::string first = submit(*service, beginning_from("x", 77));
  const std::string second = submit(*other, beginning_from("y", 77, true));
  start(worker);
  EXPECT_EQ(end_of(*service, first).state, JobState::kDone);
  EXPECT_EQ(end_of(*service, second).state, JobState::kDone);
  EXPECT_THAT(inits, ElementsAre(77, 77));
  const std::string image = service->get(first)->request.init_image->id;
  const std::string mask = other->get(second)->request.mask->id;
  EXPECT_EQ(other->get(second)->request.init_image->id, image);
  EXPECT_TRUE(other->input(mask).has_value());
  EXPECT_TRUE(service->remove(first));
  EXPECT_TRUE(service->remove(second));
  // They stay for a while after their last job: another may name them just now.
  EXPECT_TRUE(service->input(image).has_value());
  const std::string third = submit(*service, beginning_from("z", 77));
  EXPECT_EQ(end_of(*service, third).state, JobState::kDone);
  redis->set_clock(RedisJobs::kUnusedSeconds + 1);
  while (service->input(mask)) ::usleep(10'000);
  EXPECT_TRUE(service->input(image).has_value());
  EXPECT_TRUE(service->remove(third));
  redis->set_clock(2 * RedisJobs::kUnusedSeconds + 10);
  while (service->input(image)) ::usleep(10'000);
}

TEST_F(RedisJobServiceTest, ForgetsTheOldestBeyondABound) {
  retention.bytes = 1;
  const auto service = server();
  Worker worker;
  start(worker);
  EventLog log;
  service->listen("", log.listener());
  const std::string id = submit(*service, asking_for("x"));
  log.wait_for_event(
      [&](const auto& e) { return e.kind == JobEvent::Kind::kRemoved && e.job.id == id; });
  EXPECT_TRUE(service->list({}).empty());
}

TEST_F(RedisJobServiceTest, DeadlinesEndWhatWaitsAndWhatIsDrawn) {
  const auto service = server();
  JobRequest late = asking_for("x");
  late.deadline_seconds = 0.05;
  const Job waited = end_of(*service, submit(*service, late));
  EXPECT_EQ(waited.state, JobState::kFailed);
  EXPECT_EQ(waited.error->code, "deadline");
  Worker worker;
  worker.use_gate();
  start(worker);
  late.deadline_seconds = 0.5;
  const std::string id = submit(*service, late);
  worker.gate.wait_for(1);
  while (!is_ended(service->get(id)->state)) worker.gate.look();
  EXPECT_EQ(service->get(id)->error->code, "deadline");
}

TEST_F(RedisJobServiceTest, SaysWhenRedisIsAwayAndGoesOnAfterwards) {
  const auto service = server();
  Worker worker;
  start(worker);
  end_of(*service, submit(*service, asking_for("x")));
  while (!service->ready()) ::usleep(10'000);
  EXPECT_EQ(service->outage(), "");
  EXPECT_THAT(service->device(), HasSubstr("1 worker"));
  const std::string waiting = service->list({}).front().id;
  redis->kill();
  const Accepted<Job> refused = service->submit(asking_for("x"), "c");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Refusal::Reason::kUnavailable);
  EXPECT_FALSE(service->ready());
  EXPECT_FALSE(service->get(waiting).has_value());
  EXPECT_THAT(service->outage(), HasSubstr("jobs cannot be reached now"));
  redis->start();
  Accepted<Job> job = service->submit(asking_for("again"), "c");
  while (!job) job = service->submit(asking_for("again"), "c");
  EXPECT_EQ(end_of(*service, job->id).state, JobState::kDone);
  EXPECT_TRUE(service->get(waiting).has_value());
}

TEST_F(RedisJobServiceTest, RefusesAnotherPlaceForResults) {
  const RedisJobs jobs(client());
  const auto first = pictures();
  EXPECT_TRUE(join_results("--results", *first, jobs).has_value());
  EXPECT_TRUE(join_results("--results", *pictures(), jobs).has_value());
  const auto other = PictureStore::open("--results", results.path() / "other", "").value();
  const Status joined = join_results("--results", *other, jobs);
  ASSERT_FALSE(joined.has_value());
  EXPECT_THAT(joined.error().message, HasSubstr("is not the place"));
}

TEST_F(RedisJobServiceTest, AddressesThatCannotBeUsed) {
  RedisUrl url = redis->url;
  url.database = 1000;
  auto opened = RedisClient::open(url, 5);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument);
  url = redis->url;
  url.password = "wrong";
  opened = RedisClient::open(url, 5);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(opened.error().message, testing::Not(HasSubstr("wrong ")));
  redis->kill();
  opened = RedisClient::open(redis->url, 0);
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message, HasSubstr("cannot connect"));
}

TEST_F(RedisJobServiceTest, KeepsTheModelsOfWorkersApart) {
  const auto service = server();
  const RedisJobs jobs(client());
  submit(*service, asking_for("a"));
  JobRequest request = asking_for("b");
  request.model = "b";
  const std::string b = submit(*service, request);
  // One that has the second model alone.
  const auto taken = jobs.take("w", "", {"b"}).value();
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->job.job.id, b);
  EXPECT_FALSE(jobs.take("w", "", {"b"}).value().has_value());
}

}  // namespace
}  // namespace intaglio::server::test
