#include "ops/cuda/tile/attention_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>

namespace intaglio::cuda {
namespace {

// Every head and row tile once, and keys enough for its rows.
void check(const AttentionSchedule& s) {
  std::set<std::pair<int32_t, int32_t>> seen;
  int32_t before = s.tokens + s.tile_keys;  // more than any
  for (int64_t block = 0; block < s.blocks(); ++block) {
    const auto item = s.at(static_cast<int32_t>(block));
    ASSERT_GE(item.head, 0);
    ASSERT_LT(item.head, s.heads);
    ASSERT_GE(item.row, 0);
    ASSERT_EQ(item.row % s.tile_rows, 0);
    ASSERT_TRUE(seen.insert({item.head, item.row}).second) << "twice";
    const int32_t needed = s.causal != 0 ? std::min(item.row + s.tile_rows, s.tokens) : s.tokens;
    ASSERT_GE(item.key_tiles * s.tile_keys, needed);
    ASSERT_LT((item.key_tiles - 1) * s.tile_keys, s.tokens) << "a tile without a key";
    ASSERT_LE(item.key_tiles, before) << "the heaviest come first";
    before = item.key_tiles;
  }
  for (int32_t head = 0; head < s.heads; ++head)
    for (int32_t row = 0; row < s.tokens; row += s.tile_rows)
      ASSERT_EQ(seen.count({head, row}), 1u);
}

TEST(AttentionSchedule, EveryTileOnce) {
  for (const int32_t tokens : {1, 7, 64, 127, 128, 129, 255, 256, 257, 1000, 4608, 4609})
    for (const int32_t heads : {1, 3, 18})
      for (const int32_t keys : {64, 80, 96, 128})
        for (const int32_t causal : {0, 1}) {
          SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " heads, " << keys
                                          << " keys, causal " << causal);
          check({tokens, heads, 128, keys, causal});
        }
}

}  // namespace
}  // namespace intaglio::cuda
