#include "argument_values.h"

#include <gtest/gtest.h>

namespace intaglio::cli {
namespace {

const std::vector<std::string> kNames{"--prompt", "--prompts", "--precision",
                                      "--seed",   "--size",    "--steps"};

TEST(nearest_word, forgives_one_letter_in_three) {
  EXPECT_EQ(nearest_word("--promt", kNames), "--prompt");  // left out
  EXPECT_EQ(nearest_word("--prompt", kNames), "--prompt");
  EXPECT_EQ(nearest_word("--prommpt", kNames), "--prompt");  // added
  EXPECT_EQ(nearest_word("--promptss", kNames), "--prompts");
  EXPECT_EQ(nearest_word("--sede", kNames), "--seed");  // swapped
  EXPECT_EQ(nearest_word("--SEED", kNames), "--seed");
  EXPECT_EQ(nearest_word("--prec", kNames), "--precision");  // the beginning of one alone
  EXPECT_EQ(nearest_word("--colour", kNames), std::nullopt);
  EXPECT_EQ(nearest_word("", kNames), std::nullopt);
  EXPECT_EQ(nearest_word("--pro", kNames), std::nullopt);  // of two
  EXPECT_EQ(nearest_text("--sede", kNames), ", nearest: --seed");
  EXPECT_EQ(nearest_text("--colour", kNames), "");
}

TEST(whole_number, takes_decimal_digits_only) {
  EXPECT_EQ(whole_number("10"), 10);
  EXPECT_EQ(whole_number("010"), 10);
  EXPECT_EQ(whole_number("-3"), -3);
  EXPECT_EQ(whole_number("9223372036854775807"), INT64_MAX);
  for (const char* text : {"", "-", "+1", " 1", "1 ", "0x10", "1e3", "1.0", "9223372036854775808"})
    EXPECT_EQ(whole_number(text), std::nullopt) << text;
}

}  // namespace
}  // namespace intaglio::cli
