// How many threads share a row, and how much of it each holds: pure functions of the sizes, host only.
#pragma once

#include <cstdint>

namespace intaglio::cuda {

struct RowShape {
  int threads = 0;  // a block
  int rows = 1;     // a block; above 1 each warp has its own row
  int chunks = 0;   // pieces of a row a thread holds; 0: the row does not fit, it is streamed
};

inline int round_up(int64_t value, int step) {
  return static_cast<int>((value + step - 1) / step * step);
}

// A row of `pieces` pieces (4 or 8 columns each), at most `most_chunks` of them a thread.
// Up to 128 pieces a warp has the row to itself: no barrier, and four rows a block are few enough to spread over the machine.
// Above, the fewest pieces a thread for which the block stays at 384 threads: several blocks an SM hide each other's barriers.
inline RowShape quantize_rows_shape(int64_t pieces, int most_chunks) {
  for (int chunks : {1, 2, 4}) {
    if (pieces <= 32 * chunks) return {.threads = 128, .rows = 4, .chunks = chunks};
  }
  for (int chunks = 2; chunks <= most_chunks; chunks *= 2) {
    const int threads = round_up((pieces + chunks - 1) / chunks, 32);
    if (threads <= (chunks < most_chunks ? 384 : 1024))
      return {.threads = threads, .rows = 1, .chunks = chunks};
  }
  return {.threads = 1024, .rows = 1, .chunks = 0};
}

inline constexpr int kRotateMostThreads = 512;  // their scratch memory stays below 48 KiB
inline constexpr int kRotateMostChunks = 3;

// Pieces of 16 columns. Groups above 256 are exchanged among 256 threads, so their blocks are multiples of that.
// The fewest idle threads win; among equals the fewer pieces a thread.
inline RowShape rotate_rows_shape(int64_t pieces, int group) {
  const int step = group > 256 ? 256 : 32;
  RowShape best{.threads = kRotateMostThreads, .rows = 1, .chunks = 0};
  for (int chunks = 1; chunks <= kRotateMostChunks; ++chunks) {
    const int threads = round_up((pieces + chunks - 1) / chunks, step);
    if (threads > kRotateMostThreads) continue;
    if (best.chunks == 0 || threads * chunks < best.threads * best.chunks)
      best = {.threads = threads, .rows = 1, .chunks = chunks};
  }
  return best;
}

}  // namespace intaglio::cuda
