#include "ops/cuda/tuning/shape_bucket.h"

#include <gtest/gtest.h>

namespace intaglio::cuda {
namespace {

TEST(ShapeBucket, KnownValues) {
  EXPECT_EQ(bucket_m(-5), 1);
  EXPECT_EQ(bucket_m(0), 1);
  EXPECT_EQ(bucket_m(1), 1);
  EXPECT_EQ(bucket_m(3), 4);
  EXPECT_EQ(bucket_m(48), 64);
  EXPECT_EQ(bucket_m(64), 64);
  EXPECT_EQ(bucket_m(65), 128);
  EXPECT_EQ(bucket_m(129), 256);
  EXPECT_EQ(bucket_m(1024), 1024);
  EXPECT_EQ(bucket_m(1025), 1152);
  EXPECT_EQ(bucket_m(2048), 2048);
  EXPECT_EQ(bucket_m(2049), 2304);
  EXPECT_EQ(bucket_m(4096), 4096);
  EXPECT_EQ(bucket_m(4097), 4608);
  EXPECT_EQ(bucket_m(int64_t{1} << 62), int64_t{1} << 40);
}

TEST(ShapeBucket, IsItsOwnBucketHoldsMAndNeverFalls) {
  int64_t last = 1;
  for (int64_t m = 1; m <= 20000; ++m) {
    const int64_t bucket = bucket_m(m);
    ASSERT_GE(bucket, m);
    ASSERT_EQ(bucket_m(bucket), bucket) << m;
    ASSERT_GE(bucket, last) << m;
    last = bucket;
  }
}

// The reason for the rule: inside a bucket the tiles of 128 rows differ by at most one in eight.
TEST(ShapeBucket, TilesOfABucketAreNearlyConstant) {
  for (int64_t m = 65; m <= 70000; ++m) {
    const int64_t tiles = (m + 127) / 128, named = (bucket_m(m) + 127) / 128;
    ASSERT_LE(named - tiles, (named + 7) / 8) << m;
    if (m <= 1024) {
      ASSERT_EQ(named, tiles) << m;
    }
  }
}

TEST(ShapeBucket, APictureWithAnyPromptMeetsFourBuckets) {
  EXPECT_EQ(buckets_between(4096 + 1, 4096 + 2048), (std::vector<int64_t>{4608, 5120, 5632, 6144}));
  EXPECT_EQ(buckets_between(0, 5), (std::vector<int64_t>{1, 2, 4, 8}));
  EXPECT_EQ(buckets_between(100, 100), (std::vector<int64_t>{128}));
  EXPECT_TRUE(buckets_between(5, 4).empty());
}

TEST(ShapeBucket, KeepsTheRestOfTheShape) {
  const S8GemmShape shape{4100, 24576, 4608, GemmEpilogue::kSwiglu, DType::kF16};
  const S8GemmShape expected{4608, 24576, 4608, GemmEpilogue::kSwiglu, DType::kF16};
  EXPECT_EQ(bucketed(shape), expected);
}

}  // namespace
}  // namespace intaglio::cuda
