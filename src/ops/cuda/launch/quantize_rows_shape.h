// How many threads share a row, and how much of it each holds: pure functions of the sizes, host
// only.
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

struct RowLimits {
  int most_chunks = 8;       // pieces a thread, 4 or 8
  int most_threads = 1024;   // of a block whose threads hold most_chunks
  int target_threads = 384;  // of a block
};

// A row of `pieces` pieces, 4 or 8 columns each.
// Up to 128 pieces a warp has the row to itself: no barrier, and four rows a block are few enough
// to spread over the machine. Above, the fewest pieces a thread for which the block stays at
// target_threads: several blocks an SM hide each other's barriers. What counts is the bytes of all
// rows an SM holds at once, and a thread with more pieces has fewer registers beside them:
// transforms that hold floats and have a second barrier want small blocks (192), the plain ones
// have room (384).
inline RowShape quantize_rows_shape(int64_t pieces, const RowLimits& limits) {
  for (int chunks : {1, 2, 4}) {
    if (pieces <= 32 * chunks) return {.threads = 128, .rows = 4, .chunks = chunks};
  }
  for (int chunks = 2; chunks <= limits.most_chunks; chunks *= 2) {
    const int threads = round_up((pieces + chunks - 1) / chunks, 32);
    if (threads <= (chunks < limits.most_chunks ? limits.target_threads : limits.most_threads))
      return {.threads = threads, .rows = 1, .chunks = chunks};
  }
  return {.threads = 1024, .rows = 1, .chunks = 0};
}

inline constexpr int kRotateMostThreads = 512;  // their scratch memory stays below 48 KiB
inline constexpr int kRotateMostChunks = 3;

// Pieces of 16 columns. Groups above 256 are exchanged among 256 threads, so their blocks are
// multiples of that. The fewest idle threads win; among equals the fewer pieces a thread.
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
