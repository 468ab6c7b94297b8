#include "server/redis_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(RedisUrl, HasEveryPart) {
  const RedisUrl url = parse_redis_url("--queue", "redis://me:a%40b%2Fc@queue.lan:7000/3").value();
  EXPECT_EQ(url.user, "me");
  EXPECT_EQ(url.password, "a@b/c");
  EXPECT_EQ(url.host, "queue.lan");
  EXPECT_EQ(url.port, 7000);
  EXPECT_EQ(url.database, 3);
  EXPECT_EQ(url.shown(), "redis://queue.lan:7000/3");
}

TEST(RedisUrl, NeedsAHostAlone) {
  const RedisUrl url = parse_redis_url("--queue", "redis://h").value();
  EXPECT_EQ(url.port, 6379);
  EXPECT_EQ(url.database, 0);
  EXPECT_TRUE(url.user.empty() && url.password.empty());
  EXPECT_EQ(parse_redis_url("--queue", "redis://:secret@h/").value().password, "secret");
  EXPECT_EQ(parse_redis_url("--queue", "redis://[::1]:6380").value().host, "::1");
  EXPECT_EQ(parse_redis_url("--queue", "redis://[::1]").value().shown(), "redis://[::1]:6379/0");
}

TEST(RedisUrl, RefusesOthersWithoutThePassword) {
  for (const char* const text :
       {"", "queue.lan:6379", "http://h", "redis://", "redis://:secret@", "redis://secret@h",
        "redis://u:secret@h:0", "redis://u:secret@h:65536", "redis://u:secret@h:x",
        "redis://u:secret@h/x", "redis://u:secret@h/-1", "redis://u:secret%zz@h",
        "redis://u:secret@[::1"}) {
    const auto url = parse_redis_url("--queue", text);
    ASSERT_FALSE(url.has_value()) << text;
    EXPECT_EQ(url.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_THAT(url.error().message, HasSubstr("--queue: ")) << text;
    EXPECT_THAT(url.error().message, HasSubstr("expected redis://")) << text;
    EXPECT_THAT(url.error().message, Not(HasSubstr("secret"))) << text;
  }
}

TEST(RedisUrl, SaysWhyThereIsNoTls) {
  const auto url = parse_redis_url("--queue", "rediss://h");
  ASSERT_FALSE(url.has_value());
  EXPECT_EQ(url.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(url.error().message, HasSubstr("tunnel"));
}

}  // namespace
}  // namespace intaglio::server
