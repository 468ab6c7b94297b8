// Processes that end without a word, and disks that are full.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <set>

#include "core/files.h"
#include "unit/server/made_up.h"
#include "unit/server/sent_picture.h"

namespace intaglio::server::test {
namespace {

using testing::HasSubstr;

constexpr int64_t kPictures = 2;

// What a child says, a line each: "accepted ID", "ended ID".
class Child {
 public:
  // `body` is given the pipe's end; the child ends with it.
  explicit Child(const std::function<void(int)>& body) {
    int ends[2] = {};
    EXPECT_EQ(::pipe(ends), 0);
    process_ = ::fork();
    if (process_ == 0) {
      ::close(ends[0]);
      body(ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    input_ = ::fdopen(ends[0], "r");
  }
  ~Child() {
    std::fclose(input_);
    ::waitpid(process_, nullptr, 0);
  }
  std::optional<std::string> line() {
    char text[256];
    if (std::fgets(text, sizeof(text), input_) == nullptr) return std::nullopt;
    std::string line(text);
    if (!line.ends_with('\n')) return std::nullopt;  // it was killed in the midst of it
    line.pop_back();
    return line;
  }
  void kill() const { ::kill(process_, SIGKILL); }

 private:
  pid_t process_ = -1;
  FILE* input_ = nullptr;
};

void say(int pipe, const std::string& what, const std::string& id) {
  const std::string line = what + " " + id + "\n";
  static_cast<void>(!::write(pipe, line.data(), line.size()));
}

std::unique_ptr<JobService> open(const std::filesystem::path& folder,
                                 const std::shared_ptr<Studio>& studio) {
  ServiceParts parts;
  parts.folder = folder;
  parts.limits.queued = 10;
  parts.drawer = std::make_unique<MadeUpDrawer>(studio);
  auto service = QueuedJobService::open(std::move(parts));
  return service ? std::move(*service) : nullptr;
}

// Accepts jobs and draws them until it is killed.
void serve(const std::filesystem::path& folder, uint8_t grey, int pipe) {
  const auto service = open(folder, std::make_shared<Studio>());
  if (service == nullptr) return;
  service->listen("", [pipe](const JobEvent& event) {
    if (event.kind == JobEvent::Kind::kState && is_ended(event.job.state))
      say(pipe, "ended", event.job.id);
  });
  for (;;) {
    JobRequest request = beginning_from("x", grey, true);
    request.count = kPictures;
    const Accepted<Job> job = service->submit(request, "c");
    if (job) say(pipe, "accepted", job->id);
  }
}

TEST(Crash, EveryAcceptedJobEndsOnceWhereverTheProcessIsKilled) {
  const TempFolder folder;
  std::minstd_rand random(7);
  std::set<std::string> accepted;
  std::multiset<std::string> ended;
  for (int round = 0; round < 25; ++round) {
    Child child([&](int pipe) { serve(folder.path(), static_cast<uint8_t>(round), pipe); });
    const auto last_line = std::uniform_int_distribution<int>(0, 30)(random);
    for (int i = 0;; ++i) {
      if (i == last_line) child.kill();
      // What it still said before it was killed counts.
      const std::optional<std::string> line = child.line();
      if (!line) break;
      const std::string id = line->substr(line->find(' ') + 1);
      if (line->starts_with("accepted")) {
        accepted.insert(id);
      } else {
        ended.insert(id);
      }
    }
  }
  EXPECT_GT(accepted.size(), 25u);

  const auto service = open(folder.path(), std::make_shared<Studio>());
  ASSERT_NE(service, nullptr);
  for (const std::string& id : accepted) {
    EventLog log;
    const uint64_t listener = service->listen(id, log.listener());
    ASSERT_NE(listener, 0u) << id << " is lost";
    const Job job = log.wait_for_end(id);
    service->unlisten(listener);
    EXPECT_LE(ended.count(id), 1u) << id;
    if (job.state == JobState::kFailed) {
      EXPECT_EQ(job.error->code, "interrupted");
      continue;
    }
    EXPECT_EQ(job.state, JobState::kDone);
    ASSERT_EQ(job.pictures.size(), static_cast<size_t>(kPictures));
    for (int64_t i = 0; i < kPictures; ++i) {
      EXPECT_EQ(read_file(service->picture(id, i)).value(), made_up_png(job.request, i));
    }
    for (const std::string& input : input_ids(job.request))
      EXPECT_TRUE(service->input(input).has_value()) << id;
  }
}

TEST(Crash, AJobThatEndsTheProcessTwiceIsNotTriedAgain) {
  const TempFolder folder;
  const auto bomb = [&](int pipe) {
    const auto studio = std::make_shared<Studio>();
    studio->draw = [pipe](const JobRequest& request, int64_t index,
                          const DrawHooks&) -> Expected<DrawnPicture> {
      say(pipe, "draws", request.prompt);
      if (request.prompt == "bomb" && index == 1) ::raise(SIGKILL);
      return MadeUpDrawer::picture(request, index);
    };
    const auto service = open(folder.path(), studio);
    if (service == nullptr) return;
    if (service->list({}).empty()) {
      const Accepted<Job> job = service->submit(asking_for("bomb", 3), "c");
      if (job) say(pipe, "accepted", job->id);
      static_cast<void>(service->submit(asking_for("behind"), "c"));
    }
    for (;;) ::pause();
  };
  std::string id;
  int draws = 0;
  for (int round = 0; round < QueuedJobService::kMostAttempts; ++round) {
    Child child(bomb);
    while (const auto line = child.line()) {
      if (line->starts_with("accepted")) id = line->substr(line->find(' ') + 1);
      if (*line == "draws bomb") ++draws;
    }
  }
  EXPECT_EQ(draws, 3);  // 0, 1; 1 again: the first one is there
  const auto studio = std::make_shared<Studio>();
  const auto service = open(folder.path(), studio);
  const Job job = service->get(id).value();
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->code, "interrupted");
  EXPECT_EQ(job.error->message, "the server ended 2 times while it drew this job");
  EXPECT_EQ(job.pictures.size(), 1u);
  EventLog log;
  const std::string behind = service->list({}).front().id;
  service->listen(behind, log.listener());
  EXPECT_EQ(log.wait_for_end(behind).state, JobState::kDone);
}

// No file may grow beyond so many bytes: what a full disk says, but of a size.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  rlimit before_{};
  void (*signal_)(int);
};

constexpr rlim_t kDisk = 1 << 20;

TEST(Crash, APictureThatTheDiskDoesNotTakeFailsItsJobAlone) {
  Bench bench;
  bench.studio->draw = [](const JobRequest& request, int64_t index,
                          const DrawHooks&) -> Expected<DrawnPicture> {
    DrawnPicture picture = MadeUpDrawer::picture(request, index);
    if (request.prompt == "large") picture.png.resize(2 * kDisk);
    return picture;
  };
  ASSERT_TRUE(bench.open());
  const FullDisk full(kDisk);
  const std::string large = bench.submit(asking_for("large"));
  const Job job = bench.end_of(large);
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error->code, "io");
  EXPECT_THAT(job.error->message, HasSubstr("File too large"));
  EXPECT_TRUE(bench.service->picture(large, 0).empty());
  EXPECT_EQ(bench.end_of(bench.submit(asking_for("small"))).state, JobState::kDone);
}

TEST(Crash, AFullDatabaseRefusesJobsWaitsWithOthersAndLosesNoEnd) {
  Bench bench;
  bench.use_gate();
  ASSERT_TRUE(bench.open());
  const std::string id = bench.submit(asking_for("at work"));
  const std::string waiting = bench.submit(asking_for("waiting"));
  bench.gate.wait_for(1);
  {
    const FullDisk full(4096);  // less than the log of the database has already
    const Accepted<Job> job = bench.service->submit(asking_for("x"), "c");
    ASSERT_FALSE(job.has_value());
    EXPECT_EQ(job.error().reason, Refusal::Reason::kUnavailable);
    EXPECT_GE(job.error().retry_after_seconds, 1.0);
    EXPECT_THAT(job.error().message, HasSubstr("the job cannot be kept now: the database of jobs"));
    EXPECT_THAT(job.error().message, HasSubstr("the job cannot be kept"));
    bench.service->cancel(id);
    bench.gate.look();
    EXPECT_EQ(bench.end_of(id).state, JobState::kCancelled);
    while (bench.service->ready()) std::this_thread::yield();
  }
  EXPECT_EQ(bench.service->get(waiting)->state, JobState::kQueued);
  bench.gate.open();
  bench.clock.advance(6);
  EXPECT_EQ(bench.end_of(waiting).state, JobState::kDone);
  EXPECT_TRUE(bench.service->ready());
  EXPECT_EQ(bench.service->stats().queued, 0);
  bench.service.reset();
  ASSERT_TRUE(bench.open());
  EXPECT_EQ(bench.service->get(id)->state, JobState::kCancelled);
}

}  // namespace
}  // namespace intaglio::server::test
