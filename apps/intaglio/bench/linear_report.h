// What `intaglio bench linear --device cuda` says of one shape: rates, shares and ratios from
// times, as a table and as JSON. Needs no GPU.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace intaglio::cli {

// Ceilings for one candidate, 1e12 operations a second; 0: none known.
struct RateCeilings {
  double data_sheet = 0, measured = 0;
};

struct LinearRow {
  std::string name;
  double operations = 0;         // 2 m n k
  std::vector<double> times_ms;  // one a round; not empty
  RateCeilings ceilings;
  double error = 0,
         tolerance = 0;  // relative, of sampled outputs; no tolerance: not checked by itself
  nlohmann::ordered_json extra;  // joins the JSON
};

// 1e12 operations a second.
double tera_per_second(double operations, double time_ms);

// The share as "77.5%", or "-" if the ceiling is not known.
std::string share_text(double rate, double ceiling);

// Lines of the table, heading first. Ratios are to the row named `yardstick`: how many times its
// median the others take.
std::vector<std::string> table_lines(const std::vector<LinearRow>& rows,
                                     const std::string& yardstick);

// One candidate in the form of the CPU's `implementations`, with the fields of a GPU.
nlohmann::ordered_json row_json(const LinearRow& row, const std::vector<LinearRow>& rows,
                                const std::string& yardstick);

}  // namespace intaglio::cli
