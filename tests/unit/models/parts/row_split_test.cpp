#include "models/parts/row_split.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

// The rows add up to the sequence, whatever it is, and no rank has more than one beyond another.
TEST(RowSplit, PartsAreNearlyEqual) {
  for (const int64_t count : {1, 2, 7, 64, 4096, 4608 + 77})
    for (const int ranks : {1, 2, 3, 4, 8}) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const SplitRange part = part_of(count, {rank, ranks});
        EXPECT_EQ(part.first, next);
        EXPECT_GE(part.count, count / ranks);
        EXPECT_LE(part.count, count / ranks + 1);
        next = part.end();
      }
      EXPECT_EQ(next, count);
    }
}

}  // namespace
}  // namespace intaglio
