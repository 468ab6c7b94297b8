#include "server/job_mirror.h"

#include <gmock/gmock.h>

#include "unit/server/made_up.h"

namespace intaglio::server::test {
namespace {

using testing::ElementsAre;

constexpr const char* kId = "0000000000000000000a";

RedisEvent state(JobState state, int64_t revision, int64_t fence, const std::string& id = kId) {
  RedisEvent event;
  event.job.job.id = id;
  event.job.job.state = state;
  event.job.job.created = 1;
  event.job.revision = revision;
  event.job.fence = fence;
  return event;
}

RedisEvent progress(double fraction, int64_t fence) {
  RedisEvent event{.kind = RedisEvent::Kind::kProgress, .job = {}};
  event.job.job.id = kId;
  event.job.job.progress.fraction = fraction;
  event.job.fence = fence;
  return event;
}

TEST(JobMirror, PassesOverWhatIsNoNews) {
  JobMirror mirror;
  EventLog log;
  mirror.listen("", log.listener());
  mirror.hear(state(JobState::kQueued, 1, 0));
  mirror.hear(state(JobState::kRunning, 2, 1));
  mirror.hear(state(JobState::kQueued, 1, 0));
  mirror.hear(state(JobState::kDone, 4, 1));
  mirror.hear(state(JobState::kDone, 4, 1));
  mirror.hear(state(JobState::kRunning, 2, 1));
  EXPECT_THAT(log.states_of(kId),
              ElementsAre(JobState::kQueued, JobState::kRunning, JobState::kDone));
  EXPECT_TRUE(mirror.followed().empty());
}

TEST(JobMirror, HearsProgressOfWhomTheJobBelongsTo) {
  JobMirror mirror;
  mirror.hear(progress(0.5, 1));  // of a job that it knows nothing of
  mirror.hear(state(JobState::kRunning, 2, 1));
  mirror.hear(progress(0.5, 1));
  EXPECT_EQ(mirror.seen(state(JobState::kRunning, 2, 1).job).progress.fraction, 0.5);
  mirror.hear(state(JobState::kQueued, 3, 1));
  mirror.hear(state(JobState::kRunning, 4, 2));
  mirror.hear(progress(0.9, 1));  // of one that lost it
  EXPECT_EQ(mirror.seen(state(JobState::kRunning, 4, 2).job).progress.fraction, 0);
}

TEST(JobMirror, TellsOfPositionsThatChange) {
  JobMirror mirror;
  mirror.hear(state(JobState::kQueued, 1, 0, "0000000000000000000a"));
  mirror.hear(state(JobState::kQueued, 1, 0, "0000000000000000000b"));
  EventLog log;
  EXPECT_EQ(mirror.listen("0000000000000000000c", log.listener()), 0U);
  EXPECT_NE(mirror.listen("0000000000000000000b", log.listener()), 0U);
  EXPECT_EQ(log.entries().back().job.position, 2);
  mirror.hear(state(JobState::kRunning, 2, 1, "0000000000000000000a"));
  EXPECT_EQ(log.entries().back().job.position, 1);
  EXPECT_EQ(mirror.stats().queued, 1);
  EXPECT_EQ(mirror.stats().running, 1);
}

TEST(JobMirror, KeepsTheLastThatEnded) {
  JobMirror mirror;
  for (size_t i = 0; i <= JobMirror::kMostEnded; ++i)
    mirror.hear(state(JobState::kDone, 1, 1, std::to_string(i)));
  EventLog log;
  EXPECT_EQ(mirror.listen("0", log.listener()), 0U);
  EXPECT_NE(mirror.listen("1", log.listener()), 0U);
}

// What has ended may be removed by another, and the word of it still be on its way.
TEST(JobMirror, SaysWhatGoesOn) {
  JobMirror mirror;
  EXPECT_FALSE(mirror.is_going_on(kId));
  mirror.hear(state(JobState::kQueued, 1, 0));
  EXPECT_TRUE(mirror.is_going_on(kId));
  mirror.hear(state(JobState::kRunning, 2, 1));
  EXPECT_TRUE(mirror.is_going_on(kId));
  mirror.hear(state(JobState::kDone, 3, 1));
  EXPECT_FALSE(mirror.is_going_on(kId));
}

}  // namespace
}  // namespace intaglio::server::test
