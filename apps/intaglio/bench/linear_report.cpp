#include "bench/linear_report.h"

#include <fmt/format.h>

#include "bench/spread.h"

namespace intaglio::cli {
namespace {

// 0 if there is no such row.
double median_of(const std::vector<LinearRow>& rows, const std::string& name) {
  for (const LinearRow& row : rows)
    if (row.name == name) return spread_of(row.times_ms).median;
  return 0;
}

}  // namespace

double tera_per_second(double operations, double time_ms) {
  return time_ms > 0 ? operations / time_ms * 1e-9 : 0;
}

std::string share_text(double rate, double ceiling) {
  return ceiling > 0 ? fmt::format("{:.1f}%", 100 * rate / ceiling) : "-";
}

std::vector<std::string> table_lines(const std::vector<LinearRow>& rows,
                                     const std::string& yardstick) {
  constexpr auto kLine = "  {:<28} {:>10} {:>20} {:>8} {:>11} {:>9} {:>9} {:>9}";
  std::vector<std::string> lines{fmt::format(fmt::runtime(kLine), "implementation", "median ms",
                                             "min .. max", "TOP/s", "data sheet", "measured",
                                             "time", "error")};
  const double yard = median_of(rows, yardstick);
  for (const LinearRow& row : rows) {
    const Spread spread = spread_of(row.times_ms);
    const double rate = tera_per_second(row.operations, spread.median);
    lines.push_back(fmt::format(
        fmt::runtime(kLine), row.name, fmt::format("{:.4f}", spread.median),
        fmt::format("{:.4f} .. {:.4f}", spread.min, spread.max), fmt::format("{:.1f}", rate),
        share_text(rate, row.ceilings.data_sheet), share_text(rate, row.ceilings.measured),
        yard > 0 ? fmt::format("{:.2f}x", spread.median / yard) : "-",
        row.tolerance > 0 ? fmt::format("{:.1e}", row.error) : "-"));
  }
  return lines;
}

nlohmann::ordered_json row_json(const LinearRow& row, const std::vector<LinearRow>& rows,
                                const std::string& yardstick) {
  const Spread spread = spread_of(row.times_ms);
  const double rate = tera_per_second(row.operations, spread.median);
  nlohmann::ordered_json json{{"name", row.name}};
  if (row.tolerance > 0) {
    json["error"] = row.error;
    json["tolerance"] = row.tolerance;
    json["correct"] = row.error <= row.tolerance;
  }
  json["median_ms"] = spread.median;
  json["min_ms"] = spread.min;
  json["max_ms"] = spread.max;
  json["gop_per_s"] = 1e3 * rate;
  json["times_ms"] = row.times_ms;
  json["tops"] = rate;
  if (row.ceilings.data_sheet > 0) json["share_of_data_sheet"] = rate / row.ceilings.data_sheet;
  if (row.ceilings.measured > 0) json["share_of_measured_peak"] = rate / row.ceilings.measured;
  const double yard = median_of(rows, yardstick);
  if (yard > 0) json["time_ratio"] = spread.median / yard;
  if (row.extra.is_object()) json.update(row.extra);
  return json;
}

}  // namespace intaglio::cli
