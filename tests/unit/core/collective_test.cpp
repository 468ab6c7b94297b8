// Ranks of one process that give each other bytes, on the CPU.
#include "core/collective.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;

// Contexts of `size` ranks and their group.
struct Ranks {
  explicit Ranks(int size) : contexts(static_cast<size_t>(size)) {
    std::vector<const Context*> pointers;
    for (Context& context : contexts) pointers.push_back(&context);
    group = std::move(*make_linked_group(pointers));
  }
  // Runs `work` of each rank in a thread of its own.
  std::vector<Status> run(const std::function<Status(const Context&, Collective&)>& work) {
    std::vector<Status> all(contexts.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < contexts.size(); ++i)
      threads.emplace_back(
          [&, i] { all[i] = work(contexts[i], group->rank(static_cast<int>(i))); });
    for (std::thread& thread : threads) thread.join();
    return all;
  }

  std::vector<Context> contexts;
  std::unique_ptr<CollectiveGroup> group;
};

int value_of(int call, int from, int to, int piece, int i) {
  return (((call * 7 + from) * 7 + to) * 3 + piece) * 1000 + i;
}

// Two pieces for each other rank and for itself, of other sizes for each pair, one of them empty.
Status give_all(const Context& context, Collective& rank, int call, int64_t& wrong) {
  const int own = rank.rank();
  const auto count_of = [&](int from, int to, int piece) {
    return static_cast<size_t>((from + 2 * to + call) % 4 * (piece + 1));
  };
  std::vector<std::vector<int>> out, in;
  std::vector<Collective::Sent> sent;
  std::vector<Collective::Received> received;
  for (int other = 0; other < rank.size(); ++other) {
    for (int piece = 0; piece < 2; ++piece) {
      auto& values = out.emplace_back(count_of(own, other, piece));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = value_of(call, own, other, piece, static_cast<int>(i));
      sent.push_back({other, values.data(), values.size() * sizeof(int)});
      auto& room = in.emplace_back(count_of(other, own, piece));
      received.push_back({other, room.data(), room.size() * sizeof(int)});
    }
  }
  INTAGLIO_TRY(rank.all_to_all(context, sent, received));
  for (auto& values : out) std::fill(values.begin(), values.end(), -1);  // it may change
  for (int other = 0; other < rank.size(); ++other)
    for (int piece = 0; piece < 2; ++piece) {
      const auto& room = in[static_cast<size_t>(2 * other + piece)];
      for (size_t i = 0; i < room.size(); ++i)
        if (room[i] != value_of(call, other, own, piece, static_cast<int>(i))) ++wrong;
    }
  return {};
}

TEST(Collective, EachRankGetsWhatTheOthersSend) {
  for (const int size : {1, 2, 3, 4}) {
    Ranks ranks(size);
    std::atomic<int64_t> wrong = 0;
    const auto all = ranks.run([&](const Context& context, Collective& rank) -> Status {
      int64_t mine = 0;
      for (int call = 0; call < 50; ++call) INTAGLIO_TRY(give_all(context, rank, call, mine));
      wrong += mine;
      return {};
    });
    for (const Status& status : all) EXPECT_TRUE(status) << status.error().message;
    EXPECT_EQ(wrong, 0) << size;
  }
}

TEST(Collective, PiecesThatDoNotMatchAreRefused) {
  Ranks ranks(2);
  int value = 0;
  const auto all = ranks.run([&](const Context& context, Collective& rank) -> Status {
    std::vector<Collective::Sent> sent;
    std::vector<Collective::Received> received;
    if (rank.rank() == 0) sent.push_back({1, &value, 4});
    if (rank.rank() == 1) received.push_back({0, &value, 8});
    Status done = rank.all_to_all(context, sent, received);
    if (!done) ranks.group->abort();
    return done;
  });
  ASSERT_FALSE(all[1]);
  EXPECT_EQ(all[1].error().code, ErrorCode::kInternal);
  EXPECT_EQ(all[1].error().message, "rank 1 expects a piece of 8 bytes of rank 0, which sends 4");
  ASSERT_FALSE(all[0]);
  EXPECT_EQ(all[0].error().code, ErrorCode::kCancelled);
}

// One rank fails in its own work, or is stopped: those that wait for it end long before anybody
// would miss them, and the group is good again after a restart.
TEST(Collective, ARankThatFailsEndsTheOthers) {
  for (const bool by_flag : {false, true}) {
    Ranks ranks(3);
    std::atomic<bool> stop = false;
    for (Context& context : ranks.contexts) context.cancel = &stop;
    const auto begun = Clock::now();
    auto all = ranks.run([&](const Context& context, Collective& rank) -> Status {
      int64_t wrong = 0;
      INTAGLIO_TRY(give_all(context, rank, 0, wrong));
      if (rank.rank() != 1) return give_all(context, rank, 1, wrong);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the others wait by now
      if (by_flag) {
        stop = true;
      } else {
        ranks.group->abort();
      }
      return make_error(ErrorCode::kDevice, "broken");
    });
    EXPECT_LT(Clock::now() - begun, std::chrono::seconds(5));
    EXPECT_EQ(all[1].error().code, ErrorCode::kDevice);
    for (const size_t other : {size_t{0}, size_t{2}}) {
      ASSERT_FALSE(all[other]);
      EXPECT_EQ(all[other].error().code, ErrorCode::kCancelled);
    }
    stop = false;
    ASSERT_TRUE(ranks.group->restart());
    std::atomic<int64_t> wrong = 0;
    all = ranks.run([&](const Context& context, Collective& rank) -> Status {
      int64_t mine = 0;
      INTAGLIO_TRY(give_all(context, rank, 2, mine));
      wrong += mine;
      return {};
    });
    for (const Status& status : all) EXPECT_TRUE(status);
    EXPECT_EQ(wrong, 0);
  }
}

}  // namespace
}  // namespace intaglio
