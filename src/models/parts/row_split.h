// How the rows of a sequence, and the heads of attention, are split over the ranks of a pass.
#pragma once

#include <algorithm>
#include <cstdint>

namespace intaglio {

// One of the ranks that share a pass; of one rank everything is its own.
struct RowSplit {
  int rank = 0, ranks = 1;
  bool operator==(const RowSplit&) const = default;
};

struct SplitRange {
  int64_t first = 0, count = 0;
  int64_t end() const { return first + count; }
};

// Of `count` rows or heads those of a rank: one range behind the other, of sizes that differ by at
// most one.
inline SplitRange part_of(int64_t count, RowSplit split) {
  const int64_t first = count * split.rank / split.ranks;
  return {first, count * (split.rank + 1) / split.ranks - first};
}

// The same of a sequence of `all` rows, of which attention runs over the first `count` alone.
inline SplitRange part_of_first(int64_t count, int64_t all, RowSplit split) {
  const SplitRange own = part_of(all, split);
  const int64_t first = std::min(own.first, count);
  return {first, std::min(own.end(), count) - first};
}

}  // namespace intaglio
