#include "io/printable.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

TEST(Printable, EscapesControlsAndCuts) {
  EXPECT_EQ(printable("caf\u00e9 \u65e5"), "caf\u00e9 \u65e5");
  EXPECT_EQ(printable("a\x1b[0m\n\x7f"), "a\\x1b[0m\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ab\u00e9", 3), "ab...");
}

}  // namespace
}  // namespace intaglio
