#include "server/event_stream.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

using Keep = EventStream::Keep;

std::string read_all(EventStream& stream, size_t block = 1024) {
  std::string text, buffer(block, '\0');
  for (long n = 0; (n = stream.read(buffer.data(), block)) > 0;)
    text.append(buffer.data(), static_cast<size_t>(n));
  return text;
}

TEST(EventText, HasALineOfDataForEachLine) {
  EXPECT_EQ(event_text("state", "a"), "event: state\ndata: a\n\n");
  EXPECT_EQ(event_text("", "a\nb"), "data: a\ndata: b\n\n");
  EXPECT_EQ(event_text("x", ""), "event: x\ndata: \n\n");
}

TEST(EventStream, GivesEventsInOrderInPiecesOfAnySize) {
  for (const size_t block : {1, 3, 7, 1000}) {
    EventStream stream;
    stream.send("a", "1");
    stream.send("b", "2");
    stream.finish();
    EXPECT_EQ(read_all(stream, block), "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n") << block;
    char c = 0;
    EXPECT_EQ(stream.read(&c, 1), -1);
  }
}

TEST(EventStream, TheNewestProgressOfAGroupReplacesThoseThatWait) {
  EventStream stream;
  stream.send("p", "1", Keep::kDroppable, "one");
  stream.send("s", "state");
  stream.send("p", "other", Keep::kDroppable, "two");
  stream.send("p", "2", Keep::kDroppable, "one");
  EXPECT_EQ(read_all(stream),
            "event: s\ndata: state\n\nevent: p\ndata: other\n\nevent: p\ndata: 2\n\n");
}

TEST(EventStream, AnEventThatIsOnItsWayIsNotCutOff) {
  EventStream stream;
  stream.send("p", "1", Keep::kDroppable, "one");
  char head[5];
  ASSERT_EQ(stream.read(head, sizeof(head)), 5);
  stream.send("p", "2", Keep::kDroppable, "one");
  EXPECT_EQ(std::string(head, 5) + read_all(stream), "event: p\ndata: 1\n\nevent: p\ndata: 2\n\n");
}

TEST(EventStream, AFullQueueTakesStatesButNoProgress) {
  EventStream stream;
  stream.send("s", std::string(EventStream::kMaxBytes - 100, 'x'));
  const size_t full = stream.waiting_bytes();
  stream.send("p", std::string(200, 'y'), Keep::kDroppable, "one");
  EXPECT_EQ(stream.waiting_bytes(), full);
  stream.send("s", "1");
  EXPECT_EQ(stream.waiting_bytes(), full + event_text("s", "1").size());
  EXPECT_FALSE(stream.closed());
}

TEST(EventStream, AClientThatReadsNoStatesIsLetGo) {
  EventStream stream;
  int closed = 0;
  stream.on_closed([&] { ++closed; });
  stream.send("s", std::string(EventStream::kMaxBytes + 1, 'x'));
  EXPECT_TRUE(stream.closed());
  EXPECT_EQ(closed, 1);
  stream.close();
  EXPECT_EQ(closed, 1);
  char c = 0;
  EXPECT_EQ(stream.read(&c, 1), -1);
}

TEST(EventStream, SuspendsItsReaderOnceAndResumesItOnce) {
  EventStream stream;
  std::string calls;
  stream.set_reader([&] { calls += 's'; }, [&] { calls += 'r'; });
  stream.send("a", "1");
  EXPECT_EQ(calls, "");
  read_all(stream);
  EXPECT_EQ(calls, "s");
  stream.send("a", "2");
  stream.send("a", "3");
  EXPECT_EQ(calls, "sr");
  read_all(stream);
  stream.finish();
  EXPECT_EQ(calls, "srsr");
}

TEST(EventStream, CommentsOnlyAfterSilence) {
  EventStream stream;
  const auto now = EventStream::Clock::now();
  stream.comment_if_quiet(now, std::chrono::seconds(15));
  EXPECT_EQ(stream.waiting_bytes(), 0u);
  stream.comment_if_quiet(now + std::chrono::seconds(20), std::chrono::seconds(15));
  stream.comment_if_quiet(now + std::chrono::seconds(21), std::chrono::seconds(15));
  EXPECT_EQ(read_all(stream), ":\n\n");
}

TEST(EventStream, WhoComesLateHearsThatItIsClosed) {
  EventStream stream;
  stream.close();
  bool closed = false;
  stream.on_closed([&] { closed = true; });
  EXPECT_TRUE(closed);
  stream.send("a", "1");
  EXPECT_EQ(stream.waiting_bytes(), 0u);
}

}  // namespace
}  // namespace intaglio::server
