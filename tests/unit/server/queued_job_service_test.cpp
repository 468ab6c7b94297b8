#include "server/queued_job_service.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "unit/server/made_up.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using enum JobState;

TEST(JobService, DrawsEveryPictureOfAJobAndTellsItInOrder) {
  Bench bench;
  ASSERT_TRUE(bench.open());
  JobRequest request = asking_for("a cat", 3);
  request.seed = 7;
  const std::string id = bench.submit(request);
  const Job job = bench.end_of(id);
  EXPECT_EQ(job.state, kDone);
  EXPECT_EQ(job.progress.fraction, 1.0);
  ASSERT_EQ(job.pictures.size(), 3u);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(job.pictures[static_cast<size_t>(i)].seed, 7u + static_cast<uint64_t>(i));
    EXPECT_EQ(read_file(bench.service->picture(id, i)).value(), made_up_png(job.request, i));
  }
  EXPECT_TRUE(bench.service->picture(id, 3).empty());
  EXPECT_TRUE(bench.service->picture("../../etc/passwd", 0).empty());
  EXPECT_THAT(bench.events.states_of(id), ElementsAre(kQueued, kRunning, kDone));
  EXPECT_EQ(bench.service->get(id)->state, kDone);
  EXPECT_EQ(bench.service->stats().pictures.at("a,int8,done"), 3u);
  EXPECT_EQ(bench.service->stats().ended.at("done"), 1u);
}

TEST(JobService, MakesEveryChoiceWhenItAccepts) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  const Job job = bench.service->get(bench.submit(asking_for("x"))).value();
  EXPECT_EQ(job.request.model, "a");
  EXPECT_EQ(job.request.width, 16);
  ASSERT_TRUE(job.request.seed.has_value());
  EXPECT_LT(*job.request.seed, uint64_t{1} << 32);
  bench.gate.open();
}

TEST(JobService, PrioritiesGoFirstThenAge) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  bench.submit(asking_for("at work"));
  bench.gate.wait_for(1);
  std::vector<std::string> ids;
  for (const auto& [prompt, priority] :
       std::vector<std::pair<std::string, int>>{{"low", -1}, {"1st", 0}, {"2nd", 0}, {"high", 5}}) {
    JobRequest request = asking_for(prompt);
    request.priority = priority;
    ids.push_back(bench.submit(request));
  }
  EXPECT_EQ(bench.service->get(ids[0])->position, 4);
  EXPECT_EQ(bench.service->get(ids[3])->position, 1);
  EventLog own;
  bench.service->listen(ids[0], own.listener());
  bench.gate.open();
  for (const std::string& id : ids) bench.end_of(id);
  EXPECT_THAT(bench.studio->drawn(), ElementsAre("at work", "high", "1st", "2nd", "low"));
  // Who listens to one job hears how it moves up.
  std::vector<int64_t> positions;
  for (const EventLog::Entry& entry : own.entries())
    if (entry.job.state == kQueued) positions.push_back(entry.job.position);
  EXPECT_THAT(positions, ElementsAre(4, 3, 2, 1));
}

TEST(JobService, CancelsWhatWaitsAndWhatIsAtWork) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  const std::string running = bench.submit(asking_for("running", 2));
  const std::string waiting = bench.submit(asking_for("waiting"));
  bench.gate.wait_for(1);
  EXPECT_TRUE(bench.service->cancel(waiting));
  EXPECT_EQ(bench.service->get(waiting)->state, kCancelled);
  EXPECT_FALSE(bench.service->cancel(waiting));
  bench.gate.let(1);
  bench.gate.wait_for(2);  // of its second picture
  EXPECT_TRUE(bench.service->cancel(running));
  bench.gate.look();
  const Job job = bench.end_of(running);
  EXPECT_EQ(job.state, kCancelled);
  EXPECT_EQ(job.pictures.size(), 1u);  // what is drawn stays
  EXPECT_FALSE(bench.service->cancel(running));
  EXPECT_FALSE(bench.service->cancel("nothing"));
  EXPECT_THAT(bench.studio->drawn(), ElementsAre("running", "running"));
}

TEST(JobService, DeadlinesEndJobsThatWaitAndJobsAtWork) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  JobRequest request = asking_for("running");
  request.deadline_seconds = 10;
  const std::string running = bench.submit(request);
  bench.gate.wait_for(1);
  request.deadline_seconds = 5;
  const std::string waiting = bench.submit(request);
  bench.clock.advance(4.9);
  EXPECT_EQ(bench.service->get(waiting)->state, kQueued);
  bench.clock.advance(0.2);
  const Job late = bench.end_of(waiting);
  EXPECT_EQ(late.state, kFailed);
  EXPECT_EQ(late.error->code, "deadline");
  EXPECT_EQ(bench.service->get(running)->state, kRunning);
  bench.clock.jump(1e6);  // the wall's clock is not what counts
  bench.clock.advance(5);
  while (!is_ended(bench.service->get(running)->state)) bench.gate.look();
  EXPECT_EQ(bench.service->get(running)->error->code, "deadline");
}

TEST(JobService, RefusesWhatIsTooMuch) {
  Bench bench;
  bench.use_gate();
  bench.limits = {.queued = 3,
                  .queued_of_client = 2,
                  .count = 4,
                  .prompt_bytes = 8,
                  .pixels = 1024,
                  .steps = 9};
  ASSERT_TRUE(bench.open());
  bench.submit(asking_for("at work"), "one");
  bench.gate.wait_for(1);
  const auto refusal = [&](const JobRequest& request, const std::string& client = "one") {
    const Accepted<Job> job = bench.service->submit(request, client);
    EXPECT_FALSE(job.has_value());
    return job ? Refusal{} : job.error();
  };
  JobRequest request = asking_for("12345678 9");
  EXPECT_EQ(refusal(request).parameter, "prompt");
  request = asking_for("  ");
  EXPECT_EQ(refusal(request).parameter, "prompt");
  request = asking_for("\xff");
  EXPECT_EQ(refusal(request).parameter, "prompt");
  request = asking_for("x", 5);
  EXPECT_EQ(refusal(request).parameter, "count");
  request = asking_for("x");
  request.steps = 10;
  EXPECT_EQ(refusal(request).parameter, "steps");
  request = asking_for("x");
  request.width = 1024;
  EXPECT_EQ(refusal(request).parameter, "height");
  request.height = 16;
  EXPECT_EQ(refusal(request).parameter, "size");
  request = asking_for("x");
  request.priority = 100000;  // as no route lets it through
  EXPECT_EQ(refusal(request).parameter, "priority");
  request = asking_for("x", 2);
  request.seed = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(refusal(request).parameter, "seed");
  request = asking_for("x");
  request.model = "c";
  EXPECT_EQ(refusal(request).reason, Refusal::Reason::kNotFound);

  bench.submit(asking_for("1"), "one");
  bench.submit(asking_for("2"), "one");
  EXPECT_EQ(refusal(asking_for("3"), "one").reason, Refusal::Reason::kClientFull);
  bench.submit(asking_for("3"), "two");
  EXPECT_EQ(refusal(asking_for("4"), "three").reason, Refusal::Reason::kFull);
  bench.gate.open();
}

TEST(JobService, SaysWhenToTryAgainFromTheRateItMeasured) {
  Bench bench;
  bench.use_gate();
  bench.limits.queued = 2;
  bench.limits.queued_of_client = 1;
  ASSERT_TRUE(bench.open());
  const std::string first = bench.submit(asking_for("1"));
  bench.gate.wait_for(1);
  bench.clock.advance(40);
  bench.gate.let(1);
  bench.end_of(first);  // 40 seconds a job
  bench.submit(asking_for("2"));
  bench.gate.wait_for(2);
  bench.submit(asking_for("3"), "other");
  bench.submit(asking_for("4"));
  EXPECT_EQ(bench.service->submit(asking_for("5"), "c").error().retry_after_seconds, 80);
  EXPECT_EQ(bench.service->submit(asking_for("5"), "d").error().retry_after_seconds, 40);
  bench.gate.open();
}

TEST(JobService, AFailureEndsOneJobWithItsReason) {
  Bench bench;
  bench.studio->draw = [](const JobRequest& request, int64_t index,
                          const DrawHooks&) -> Expected<DrawnPicture> {
    if (request.prompt == "bad") return make_error(ErrorCode::kIo, "pictures: no space left");
    return MadeUpDrawer::picture(request, index);
  };
  ASSERT_TRUE(bench.open());
  const Job bad = bench.end_of(bench.submit(asking_for("bad")));
  EXPECT_EQ(bad.state, kFailed);
  EXPECT_EQ(bad.error->code, "io");
  EXPECT_THAT(bad.error->message, HasSubstr("no space left"));
  EXPECT_EQ(bench.end_of(bench.submit(asking_for("good"))).state, kDone);
  EXPECT_EQ(bench.service->stats().pictures.at("a,int8,failed"), 1u);
}

TEST(JobService, JobsOfTheModelAtWorkGoFirst) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  std::vector<std::string> ids;
  for (const char* name : {"a1", "b1", "a2", "b2", "a3"}) {
    JobRequest request = asking_for(name);
    request.model = std::string(1, name[0]);
    ids.push_back(bench.submit(request));
    bench.gate.wait_for(1);
  }
  bench.gate.open();
  for (const std::string& id : ids) bench.end_of(id);
  EXPECT_THAT(bench.studio->drawn(), ElementsAre("a1", "a2", "a3", "b1", "b2"));
}

TEST(JobService, ForgetsWhatIsOldAndWhatIsTooMuch) {
  Bench bench;
  bench.retention = {.seconds = 100, .bytes = 20};
  ASSERT_TRUE(bench.open());
  JobRequest request = asking_for("12345678");  // 12 bytes each picture
  request.seed = 1;
  const std::string first = bench.submit(request);
  bench.end_of(first);
  bench.clock.advance(1);
  const std::string second = bench.submit(request);
  const auto removed = [](const std::string& id) {
    return [id](const EventLog::Entry& entry) {
      return entry.kind == JobEvent::Kind::kRemoved && entry.job.id == id;
    };
  };
  bench.events.wait_for_event(removed(first));
  EXPECT_FALSE(bench.service->get(first).has_value());
  EXPECT_TRUE(bench.service->picture(first, 0).empty());
  EXPECT_TRUE(bench.service->get(second).has_value());
  bench.clock.advance(200);
  bench.events.wait_for_event(removed(second));
  EXPECT_TRUE(bench.service->list({}).empty());
}

TEST(JobService, RemovesEndedJobsAlone) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  const std::string id = bench.submit(asking_for("x"));
  bench.gate.wait_for(1);
  EXPECT_FALSE(bench.service->remove(id));
  bench.gate.open();
  bench.end_of(id);
  // The end is told before the last of it has left memory.
  while (!bench.service->remove(id)) std::this_thread::yield();
  EXPECT_FALSE(bench.service->get(id).has_value());
  EXPECT_FALSE(bench.service->remove(id));
  EXPECT_FALSE(std::filesystem::exists(bench.folder / ("pictures/" + id)));
}

TEST(JobService, ListensFromTheStateThatIs) {
  Bench bench;
  ASSERT_TRUE(bench.open());
  const std::string id = bench.submit(asking_for("x"));
  bench.end_of(id);
  EventLog late;
  const uint64_t listener = bench.service->listen(id, late.listener());
  EXPECT_NE(listener, 0u);
  EXPECT_THAT(late.states_of(id), ElementsAre(kDone));
  bench.service->unlisten(listener);
  EXPECT_EQ(bench.service->listen("01kzz000000123456789", late.listener()), 0u);
}

TEST(JobService, ReportsProgressAndPreviews) {
  Bench bench;
  bench.studio->draw = [&](const JobRequest& request, int64_t index,
                           const DrawHooks& hooks) -> Expected<DrawnPicture> {
    hooks.progress({Phase::kText, 0, 1});
    for (int64_t step = 0; step <= 4; ++step) {
      hooks.progress({Phase::kDenoise, step, 4});
      bench.clock.advance(10);
      if (step == 1 && hooks.preview)
        hooks.preview(2, std::make_shared<const std::string>("PNG of " + std::to_string(index)));
    }
    return MadeUpDrawer::picture(request, index);
  };
  ASSERT_TRUE(bench.open());
  JobRequest request = asking_for("x", 2);
  request.previews = 1;
  const std::string id = bench.submit(request);
  bench.end_of(id);
  double fraction = 0;
  std::vector<std::string> previews;
  for (const EventLog::Entry& entry : bench.events.entries()) {
    if (entry.kind == JobEvent::Kind::kPreview) {
      previews.push_back(*entry.preview);
      EXPECT_EQ(entry.job.progress.step, 2);
    }
    if (entry.kind != JobEvent::Kind::kProgress) continue;
    const JobProgress& progress = entry.job.progress;
    EXPECT_GE(progress.fraction, fraction);
    fraction = progress.fraction;
    // The first picture's 4 steps took 10 seconds each and are 88% of half the job.
    if (progress.picture == 0 && progress.phase == "denoise" && progress.step == 2) {
      EXPECT_NEAR(*progress.seconds_left, (1 - 0.5 * (0.02 + 0.44)) * 20 / (0.5 * 0.44), 1e-9);
    }
  }
  EXPECT_THAT(previews, ElementsAre("PNG of 0", "PNG of 1"));
}

// Notes what each picture began from.
void note_inits(Bench& bench, std::vector<std::string>& inits) {
  bench.studio->draw = [&](const JobRequest& request, int64_t index,
                           const DrawHooks& hooks) -> Expected<DrawnPicture> {
    bench.gate.pass(hooks.cancel);
    if (*hooks.cancel) return make_error(ErrorCode::kCancelled, "cancelled");
    inits.push_back(hooks.init == nullptr
                        ? "noise"
                        : fmt::format("{} of {}, {} masked, {}", hooks.init->image.pixels[0],
                                      hooks.init->image.width, hooks.init->mask.size(),
                                      hooks.init->strength));
    return MadeUpDrawer::picture(request, index);
  };
}

TEST(JobService, APictureToBeginFromSurvivesTheProcess) {
  Bench bench;
  std::vector<std::string> inits;
  note_inits(bench, inits);
  ASSERT_TRUE(bench.open());
  JobRequest request = beginning_from("x", 77, true);
  request.count = 2;
  request.strength = 0.5;
  const std::string id = bench.submit(request);
  const std::string other = bench.submit(beginning_from("y", 77));
  const std::string plain = bench.submit(asking_for("z"));
  const Job job = bench.service->get(id).value();
  EXPECT_EQ(job.request.sent, nullptr);
  EXPECT_EQ(job.request.init_image->width, 16);
  EXPECT_EQ(bench.service->get(other)->request.init_image->id, job.request.init_image->id);
  EXPECT_EQ(bench.service->get(other)->request.strength, InitPicture{}.strength);
  bench.gate.wait_for(1);
  std::thread stopping([&] { bench.service->stop(std::chrono::milliseconds(0)); });
  while (bench.service->get(id)->state == kRunning) bench.gate.look();
  stopping.join();
  bench.service.reset();

  bench.gate.open();
  ASSERT_TRUE(bench.open());
  EXPECT_EQ(bench.end_of(plain).state, kDone);
  EXPECT_EQ(bench.service->get(id)->state, kDone);
  EXPECT_THAT(inits, ElementsAre("77 of 16, 256 masked, 0.5", "77 of 16, 256 masked, 0.5",
                                 "77 of 16, 0 masked, 0.6", "noise"));
  EXPECT_TRUE(bench.service->input(job.request.mask->id).has_value());
  EXPECT_TRUE(bench.service->remove(id));
  EXPECT_FALSE(bench.service->input(job.request.mask->id).has_value());
  EXPECT_TRUE(bench.service->input(job.request.init_image->id).has_value());
  EXPECT_TRUE(bench.service->remove(other));
  EXPECT_FALSE(bench.service->input(job.request.init_image->id).has_value());
  EXPECT_FALSE(bench.service->input("../jobs.sqlite").has_value());
}

TEST(JobService, APictureThatIsGoneFailsItsJobAlone) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  bench.submit(asking_for("at work"));
  bench.gate.wait_for(1);
  const std::string id = bench.submit(beginning_from("x", 77));
  const std::string next = bench.submit(asking_for("y"));
  std::filesystem::remove(
      bench.service->input(bench.service->get(id)->request.init_image->id).value());
  bench.gate.open();
  EXPECT_EQ(bench.end_of(next).state, kDone);
  const Job job = bench.service->get(id).value();
  EXPECT_EQ(job.state, kFailed);
  EXPECT_EQ(job.error->code, "not_found");
}

TEST(JobService, RefusesPicturesThatCannotBeBegunFrom) {
  Bench bench;
  ASSERT_TRUE(bench.open());
  const auto refusal = [&](const JobRequest& request) {
    const Accepted<Job> job = bench.service->submit(request, "c");
    return job ? Refusal{} : job.error();
  };
  JobRequest request = beginning_from("x", 1);
  request.model = "b";
  EXPECT_EQ(refusal(request).parameter, "init_image");
  EXPECT_THAT(refusal(request).message, HasSubstr("the files of b have no encoder"));
  request = beginning_from("x", 1);
  request.progressive = "0.4";
  EXPECT_EQ(refusal(request).parameter, "progressive");
  request.progressive = "off";
  EXPECT_EQ(refusal(request).message, "");
  request = asking_for("x");
  request.strength = 0.5;
  EXPECT_EQ(refusal(request).parameter, "strength");
  request = beginning_from("x", 1, true);
  request.sent = std::make_shared<const SentPictures>(
      SentPictures{.image = {}, .mask = request.sent->mask, .mask_blur = 0});
  EXPECT_EQ(refusal(request).parameter, "mask");
  request = asking_for("x");
  request.init_image = KeptPicture{.id = std::string(64, '0')};
  EXPECT_THAT(refusal(request).message, HasSubstr("there is no picture 0000"));
}

TEST(JobService, ASecondServerOnAFolderIsRefused) {
  Bench bench;
  ASSERT_TRUE(bench.open());
  const auto second = QueuedJobService::open(
      {.folder = bench.folder.path(), .drawer = std::make_unique<MadeUpDrawer>(bench.studio)});
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().message, HasSubstr("another server works in this folder (process " +
                                                std::to_string(::getpid()) + ")"));
}

TEST(JobService, StoppingFinishesOrPutsBackTheJobAtWork) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  const std::string id = bench.submit(asking_for("x", 2));
  const std::string next = bench.submit(asking_for("y"));
  bench.gate.let(1);
  bench.gate.wait_for(2);
  std::thread stopping([&] { bench.service->stop(std::chrono::milliseconds(0)); });
  while (bench.service->ready()) std::this_thread::yield();
  EXPECT_EQ(bench.service->submit(asking_for("z"), "c").error().reason, Refusal::Reason::kStopping);
  while (bench.service->get(id)->state == kRunning) bench.gate.look();
  stopping.join();
  EXPECT_EQ(bench.service->get(id)->state, kQueued);
  bench.service.reset();

  bench.gate.open();
  ASSERT_TRUE(bench.open());
  EXPECT_EQ(bench.end_of(next).state, kDone);
  const Job job = bench.service->get(id).value();
  EXPECT_EQ(job.state, kDone);
  EXPECT_EQ(job.pictures.size(), 2u);
  // Its first picture was not drawn again.
  EXPECT_THAT(bench.studio->drawn(), ElementsAre("x", "x", "x", "y"));
}

TEST(JobService, DeadlinesGoOnFromOneProcessToTheNext) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  bench.submit(asking_for("at work"));
  bench.gate.wait_for(1);
  JobRequest request = asking_for("late");
  request.deadline_seconds = 10;
  const std::string id = bench.submit(request);
  std::thread stopping([&] { bench.service->stop(std::chrono::milliseconds(0)); });
  while (bench.service->ready()) std::this_thread::yield();
  while (bench.service->stats().running > 0) bench.gate.look();
  stopping.join();
  bench.service.reset();
  bench.clock.advance(11);
  ASSERT_TRUE(bench.open());
  const Job late = bench.end_of(id);
  EXPECT_EQ(late.error->code, "deadline");
  bench.gate.open();
}

}  // namespace
}  // namespace intaglio::server::test
