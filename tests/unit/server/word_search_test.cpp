#include "server/word_search.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

TEST(WordSearch, FindsBeginningsOfWords) {
  EXPECT_TRUE(WordSearch("").found_in("an owl"));
  EXPECT_TRUE(WordSearch("OW").found_in("an owl"));
  EXPECT_TRUE(WordSearch("owl an").found_in("an owl"));
  EXPECT_FALSE(WordSearch("wl").found_in("an owl"));
  EXPECT_FALSE(WordSearch("owl cat").found_in("an owl"));
  EXPECT_TRUE(WordSearch("café").found_in("A CAFE, at night"));
  EXPECT_TRUE(WordSearch("cafe").found_in("Café"));
  EXPECT_TRUE(WordSearch("grün-blau").found_in("blauer Himmel, grüne Wiese"));
}

TEST(WordSearch, IsEmptyWithoutAWord) {
  EXPECT_TRUE(WordSearch(" -\t\"*").empty());
  EXPECT_TRUE(WordSearch("\xff\xfe").empty());
  EXPECT_FALSE(WordSearch("7").empty());
}

}  // namespace
}  // namespace intaglio::server
