#include "progress.h"

#include <gtest/gtest.h>

namespace intaglio::cli {
namespace {

constexpr const char* kWide = "\xe4\xb8\xad\xe6\x96\x87";  // two characters of two columns
constexpr const char* kEmoji = "\xf0\x9f\x98\x80";         // one of two
constexpr const char* kCombined = "e\xcc\x81";             // one column

TEST(display_width, counts_columns) {
  EXPECT_EQ(display_width(""), 0);
  EXPECT_EQ(display_width("caf\xc3\xa9"), 4);
  EXPECT_EQ(display_width(kWide), 4);
  EXPECT_EQ(display_width(kEmoji), 2);
  EXPECT_EQ(display_width(kCombined), 1);
}

TEST(fitting, cuts_between_characters) {
  EXPECT_EQ(fitting("abc", 2), "ab");
  EXPECT_EQ(fitting("abc", 3), "abc");
  EXPECT_EQ(fitting("abc", 0), "");
  EXPECT_EQ(fitting("abc", -1), "");
  EXPECT_EQ(fitting(kWide, 3), std::string_view(kWide).substr(0, 3));
  EXPECT_EQ(fitting(kWide, 1), "");
  EXPECT_EQ(fitting(kCombined, 1), kCombined);
}

TEST(bar_line, fits_every_width) {
  for (const char* name : {"sampling", kWide, "a rather long name of a phase"}) {
    for (int columns = 0; columns < 120; ++columns) {
      const BarText text{.name = name, .times = "1.00 s/step, 12.0 s left", .done = 3, .total = 24};
      EXPECT_LE(display_width(bar_line(text, columns, false)), columns) << name;
    }
  }
}

TEST(bar_line, keeps_what_matters) {
  const BarText text{
      .name = "sampling", .times = "1.00 s/step, 12.0 s left", .done = 12, .total = 24};
  EXPECT_EQ(
      bar_line(text, 80, false), "sampling " + [] {
        std::string bar;
        for (int i = 0; i < 19; ++i) bar += "━";
        for (int i = 0; i < 20; ++i) bar += "·";
        return bar;
      }() + " 12/24  1.00 s/step, 12.0 s left");
  EXPECT_EQ(bar_line(text, 40, false), "sampling 12/24  1.00 s/step, 12.0 s left");
  EXPECT_EQ(bar_line(text, 20, false), "sampling 12/24");
  EXPECT_EQ(bar_line(text, 10, false), "samp 12/24");
  const std::string coloured = bar_line(text, 80, true);
  EXPECT_NE(coloured.find("\x1b[36m"), std::string::npos);
  EXPECT_TRUE(coloured.ends_with("\x1b[0m 12/24  1.00 s/step, 12.0 s left"));
}

}  // namespace
}  // namespace intaglio::cli
