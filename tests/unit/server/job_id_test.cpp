#include "server/job_id.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

TEST(JobId, SortsInTheOrderOfMakingWhateverTheClockDoes) {
  std::string last;
  for (const double seconds : {1.79e9, 1.79e9, 1.79e9 + 60.0, 1.79e9 - 3600.0, 0.0, -5.0, 1.8e9}) {
    const auto id = next_job_id(last, seconds);
    ASSERT_TRUE(id.has_value()) << id.error().message;
    EXPECT_TRUE(is_job_id(*id)) << *id;
    EXPECT_LT(last, *id) << seconds;
    last = *id;
  }
}

TEST(JobId, TakesNothingThatIsAPath) {
  EXPECT_TRUE(is_job_id("01kzz000000123456789"));
  for (const char* text :
       {"", "..", "01kzz00000012345678", "01kzz0000001234567890", "01kzz00000012345678/",
        "01KZZ000000123456789", "01kzz0000001234567l9", "../../../../../../ab"})
    EXPECT_FALSE(is_job_id(text)) << text;
}

}  // namespace
}  // namespace intaglio::server
