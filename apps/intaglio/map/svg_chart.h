// Plain SVG charts for the docs: no library, the same bytes from the same numbers.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace intaglio::cli {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

struct LineChart {
  std::string title, x_label, y_label;
  std::vector<ChartLine> lines;
};
// Both axes begin at 0.
std::string line_chart_svg(const LineChart& chart);

struct Bar {
  std::string name;
  double value = 0.0;
  bool modelled = false;  // hollow
};
struct BarGroup {
  std::string name;
  std::vector<Bar> bars;
};
struct BarChart {
  std::string title, unit;
  std::vector<BarGroup> groups;
};
// Horizontal bars; every group has a scale of its own.
std::string bar_chart_svg(const BarChart& chart);

}  // namespace intaglio::cli
