#include "core/parallel.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <vector>

namespace intaglio::test {
namespace {

struct Piece {
  int64_t begin, end;
  int thread;
  bool operator<(const Piece& other) const { return begin < other.begin; }
};

std::vector<Piece> pieces_of(int threads, int64_t count, int64_t grain) {
  std::mutex mutex;
  std::vector<Piece> pieces;
  parallel_for(threads, count, grain, [&](int64_t begin, int64_t end, int thread) {
    const std::lock_guard lock(mutex);
    pieces.push_back({begin, end, thread});
  });
  std::sort(pieces.begin(), pieces.end());
  return pieces;
}

TEST(ParallelFor, PiecesTileTheRange) {
  for (const int threads : {1, 2, 3, 8}) {
    for (const int64_t count : {1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        const std::vector<Piece> pieces = pieces_of(threads, count, grain);
        int64_t next = 0;
        for (const Piece& piece : pieces) {
          ASSERT_EQ(piece.begin, next);
          ASSERT_GT(piece.end, piece.begin);
          ASSERT_LE(piece.end - piece.begin, grain);
          ASSERT_GE(piece.thread, 0);
          ASSERT_LT(piece.thread, threads);
          next = piece.end;
        }
        ASSERT_EQ(next, count) << threads << " threads, grain " << grain;
        ASSERT_EQ(pieces.size(), static_cast<size_t>((count + grain - 1) / grain));
      }
    }
  }
}

TEST(ParallelFor, NothingToDo) {
  EXPECT_TRUE(pieces_of(4, 0, 1).empty());
  EXPECT_TRUE(pieces_of(4, -3, 1).empty());
}

TEST(ParallelFor, OddArgumentsAreBroughtIntoRange) {
  EXPECT_EQ(pieces_of(0, 5, 0).size(), 5u);
  EXPECT_EQ(pieces_of(-2, 5, -1).size(), 5u);
}

TEST(ParallelFor, OneThreadGoesInOrder) {
  std::vector<int64_t> begins;
  parallel_for(1, 10, 3, [&](int64_t begin, int64_t, int thread) {
    EXPECT_EQ(thread, 0);
    begins.push_back(begin);
  });
  EXPECT_EQ(begins, (std::vector<int64_t>{0, 3, 6, 9}));
}

// Threads that share a number would share scratch memory.
TEST(ParallelFor, ThreadNumbersAreNotShared) {
  constexpr int kThreads = 4;
  std::vector<std::atomic<int>> inside(kThreads);
  std::atomic<bool> shared{false};
  parallel_for(kThreads, 2000, 1, [&](int64_t, int64_t, int thread) {
    if (inside[static_cast<size_t>(thread)].fetch_add(1) != 0) shared = true;
    inside[static_cast<size_t>(thread)].fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

}  // namespace
}  // namespace intaglio::test
