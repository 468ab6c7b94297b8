// The table and the JSON of `bench linear --device cuda`, from made-up times.
#include "bench/linear_report.h"

#include <gtest/gtest.h>

namespace intaglio::cli {
namespace {

// 1e12 operations: 1 ms is 1000 TOP/s.
std::vector<LinearRow> rows() {
  return {{.name = "gemm int8",
           .operations = 1e12,
           .times_ms = {1.25, 1.0, 0.5},
           .ceilings = {2000, 1600},
           .error = 0.013,
           .tolerance = 0.03,
           .extra = {{"kernel", "a"}}},
          {.name = "cublaslt bf16",
           .operations = 1e12,
           .times_ms = {2.0, 1.8},
           .ceilings = {1000, 0},
           .extra = {}}};
}

TEST(LinearReport, RatesAndShares) {
  EXPECT_DOUBLE_EQ(tera_per_second(1e12, 1.0), 1000);
  EXPECT_EQ(tera_per_second(1e12, 0.0), 0);
  EXPECT_EQ(share_text(1550, 2000), "77.5%");
  EXPECT_EQ(share_text(1550, 0), "-");
}

TEST(LinearReport, TableHasOneLineARowAndTheRatioToOurs) {
  const auto lines = table_lines(rows(), "gemm int8");
  ASSERT_EQ(lines.size(), 3u);
  for (const char* text :
       {"1.0000", "0.5000 .. 1.2500", "1000.0", "50.0%", "62.5%", "1.00x", "1.3e-02"})
    EXPECT_NE(lines[1].find(text), std::string::npos) << text << " in " << lines[1];
  for (const char* text : {"1.9000", "526.3", "52.6%", " - ", "1.90x"})
    EXPECT_NE(lines[2].find(text), std::string::npos) << text << " in " << lines[2];
  for (const std::string& line : lines) EXPECT_EQ(line.size(), lines[0].size());
}

TEST(LinearReport, WithoutTheYardstickThereIsNoRatio) {
  EXPECT_EQ(table_lines(rows(), "another")[1].find("x "), std::string::npos);
  EXPECT_FALSE(row_json(rows()[0], rows(), "another").contains("time_ratio"));
}

TEST(LinearReport, JsonKeepsTheFieldsOfTheCpu) {
  const auto json = row_json(rows()[0], rows(), "gemm int8");
  for (const char* field : {"name", "error", "tolerance", "correct", "median_ms", "min_ms",
                            "max_ms", "gop_per_s", "times_ms", "kernel"})
    EXPECT_TRUE(json.contains(field)) << field;
  EXPECT_DOUBLE_EQ(json["gop_per_s"], 1e6);
  EXPECT_DOUBLE_EQ(json["tops"], 1000);
  EXPECT_DOUBLE_EQ(json["share_of_data_sheet"], 0.5);
  EXPECT_DOUBLE_EQ(json["share_of_measured_peak"], 0.625);
  EXPECT_TRUE(json["correct"]);
  const auto other = row_json(rows()[1], rows(), "gemm int8");
  EXPECT_DOUBLE_EQ(other["time_ratio"], 1.9);
  EXPECT_FALSE(other.contains("error"));
  EXPECT_FALSE(other.contains("share_of_measured_peak"));
}

}  // namespace
}  // namespace intaglio::cli
