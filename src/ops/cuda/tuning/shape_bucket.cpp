#include "ops/cuda/tuning/shape_bucket.h"

#include <algorithm>
#include <bit>

namespace intaglio::cuda {
namespace {

constexpr int64_t kSmallM = 64;      // up to here powers of two
constexpr int64_t kTileRows = 128;   // the step from there on
constexpr int64_t kFineUpTo = 1024;  // eight rows of tiles: one more is an eighth
constexpr int64_t kStepsPerOctave = 8;
constexpr int64_t kMaxM = int64_t{1}
                          << 40;  // nothing real is larger; keeps the sums below in range

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

int64_t bucket_m(int64_t m) {
  m = std::clamp<int64_t>(m, 1, kMaxM);
  if (m <= kSmallM) return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(m)));
  if (m <= kFineUpTo) return round_up(m, kTileRows);
  // m - 1: a power of two closes the octave below it.
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(m - 1)));
  return round_up(m, octave / kStepsPerOctave);
}

std::vector<int64_t> buckets_between(int64_t first, int64_t last) {
  std::vector<int64_t> buckets;
  last = std::min(last, kMaxM);
  for (int64_t m = std::max<int64_t>(first, 1); m <= last; m = buckets.back() + 1) {
    buckets.push_back(bucket_m(m));
  }
  return buckets;
}

S8GemmShape bucketed(const S8GemmShape& shape) {
  S8GemmShape result = shape;
  result.m = bucket_m(shape.m);
  return result;
}

}  // namespace intaglio::cuda
