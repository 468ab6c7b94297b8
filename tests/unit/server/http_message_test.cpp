#include "server/http_message.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

using Strings = std::vector<std::string>;

TEST(PercentDecoded, DecodesEscapesOfEitherCase) {
  EXPECT_EQ(percent_decoded("a%20b%2fc%2Fd"), "a b/c/d");
  EXPECT_EQ(percent_decoded("%c3%A4"), "\xc3\xa4");
  EXPECT_EQ(percent_decoded(""), "");
  EXPECT_EQ(percent_decoded(std::string_view("a\0b", 3)), std::nullopt);
}

TEST(PercentDecoded, RefusesBrokenEscapesNulsAndWhatIsNoUtf8) {
  for (const char* text : {"%", "a%2", "%zz", "%00", "%c3", "%ff"})
    EXPECT_EQ(percent_decoded(text), std::nullopt) << text;
}

TEST(PathParts, SplitsAtSlashes) {
  EXPECT_EQ(path_parts("/"), Strings());
  EXPECT_EQ(path_parts("/a/b%20c"), (Strings{"a", "b c"}));
  EXPECT_EQ(path_parts("/a/"), Strings{"a"});
}

TEST(PathParts, RefusesWhatLeadsElsewhere) {
  for (const char* path : {"", "a", "//a", "/a//b", "/..", "/a/../b", "/a/%2e%2e", "/.", "/a%2fb",
                           "/a%5cb", "/a%00", "/a%0ab", "/%2e%2e%2fetc", "/a%7f", "*"}) {
    EXPECT_EQ(path_parts(path), std::nullopt) << path;
  }
}

TEST(EqualInConstantTime, IsEquality) {
  EXPECT_TRUE(equal_in_constant_time("", ""));
  EXPECT_TRUE(equal_in_constant_time("token", "token"));
  for (const auto& [a, b] :
       {std::pair("token", "tokem"), std::pair("token", "toke"), std::pair("toke", "token"),
        std::pair("", "t"), std::pair("t", ""), std::pair("tokentoken", "token")}) {
    EXPECT_FALSE(equal_in_constant_time(a, b)) << a << " " << b;
  }
}

TEST(Response, AHeaderIsThereOnce) {
  Response response;
  response.set("A", "1").set("B", "2").set("A", "3");
  ASSERT_EQ(response.headers.size(), 2u);
  EXPECT_EQ(response.headers[0].second, "3");
}

}  // namespace
}  // namespace intaglio::server
