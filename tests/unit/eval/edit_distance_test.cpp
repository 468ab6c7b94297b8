#include "eval/edit_distance.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

TEST(EditDistance, CountsChanges) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("HELLO", "HELLO"), 0);
  EXPECT_EQ(edit_distance("HELLO", "HELO"), 1);
  EXPECT_EQ(edit_distance("HELO", "HELLO"), 1);
  EXPECT_EQ(edit_distance("PIZZA", "RIZZA"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("ab", "ba"), 2);
}

TEST(EditDistance, CountsCodePoints) {
  EXPECT_EQ(edit_distance("\u00e4", "\u00f6"), 1);
  EXPECT_EQ(edit_distance("\u732b", "a"), 1);
  EXPECT_EQ(edit_distance("\xff\xfe", "\xff"), 1);
  EXPECT_EQ(edit_distance("\xff", "\xfe"), 1);
}

TEST(EditSimilarity, IsAShareOfTheLongerOne) {
  EXPECT_EQ(edit_similarity("", ""), 1.0);
  EXPECT_EQ(edit_similarity("OPEN", ""), 0.0);
  EXPECT_DOUBLE_EQ(edit_similarity("HELLO", "HELO"), 0.8);
  EXPECT_DOUBLE_EQ(edit_similarity("HELO", "HELLO"), 0.8);
}

}  // namespace
}  // namespace intaglio
