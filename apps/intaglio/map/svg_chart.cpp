#include "map/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace intaglio::cli {
namespace {

// Told apart by people who do not see all colours (Okabe and Ito).
constexpr std::array<const char*, 6> kColours{"#0072b2", "#d55e00", "#009e73",
                                              "#cc79a7", "#e69f00", "#56b4e9"};
constexpr const char* kFont = "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\"";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" {}>{}</text>\n", x, y,
                     anchor, kFont, escaped(text));
}

std::string begin_svg(double width, double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height);
}

// A round step that divides `most` into three to seven.
double tick_step(double most) {
  const double power = std::pow(10.0, std::floor(std::log10(most / 3.0)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (most / (factor * power) <= 7.0) return factor * power;
  return 10.0 * power;
}

const char* colour(size_t i) { return kColours[i % kColours.size()]; }

}  // namespace

std::string line_chart_svg(const LineChart& chart) {
  constexpr double kWidth = 640, kHeight = 400, kLeft = 70, kRight = 150, kTop = 40, kBottom = 50;
  double most_x = 0.0, most_y = 0.0;
  for (const ChartLine& line : chart.lines) {
    for (const auto& [x, y] : line.points) {
      most_x = std::max(most_x, x);
      most_y = std::max(most_y, y);
    }
  }
  if (most_x <= 0.0 || most_y <= 0.0) return begin_svg(kWidth, kHeight) + "</svg>\n";
  most_y *= 1.05;
  most_x *= 1.02;
  const auto at_x = [&](double x) { return kLeft + (kWidth - kLeft - kRight) * x / most_x; };
  const auto at_y = [&](double y) {
    return kHeight - kBottom - (kHeight - kTop - kBottom) * y / most_y;
  };
  std::string svg = begin_svg(kWidth, kHeight) + text_at(kLeft, 22, chart.title);
  const auto grid = [&](double x1, double y1, double x2, double y2) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n", x1, y1,
        x2, y2);
  };
  for (double x = 0.0; x <= most_x; x += tick_step(most_x)) {
    grid(at_x(x), at_y(0), at_x(x), at_y(most_y));
    svg += text_at(at_x(x), kHeight - kBottom + 18, fmt::format("{:g}", x), "middle");
  }
  for (double y = 0.0; y <= most_y; y += tick_step(most_y)) {
    grid(at_x(0), at_y(y), at_x(most_x), at_y(y));
    svg += text_at(kLeft - 8, at_y(y) + 4, fmt::format("{:g}", y), "end");
  }
  svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 12, chart.x_label, "middle");
  svg += text_at(8, kTop - 4, chart.y_label);
  for (size_t i = 0; i < chart.lines.size(); ++i) {
    const ChartLine& line = chart.lines[i];
    std::string points;
    for (const auto& [x, y] : line.points)
      points += fmt::format("{:.1f},{:.1f} ", at_x(x), at_y(y));
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       points, colour(i));
    for (const auto& [x, y] : line.points)
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", at_x(x),
                         at_y(y), colour(i));
    const double y = kTop + 16 + 20.0 * static_cast<double>(i);
    svg += fmt::format("<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n",
                       kWidth - kRight + 16, y - 10, colour(i));
    svg += text_at(kWidth - kRight + 34, y, line.name);
  }
  return svg + "</svg>\n";
}

std::string bar_chart_svg(const BarChart& chart) {
  constexpr double kWidth = 880, kLeft = 350, kRight = 130, kRow = 18, kTop = 40;
  double rows = 0.0;
  for (const BarGroup& group : chart.groups) rows += static_cast<double>(group.bars.size()) + 1.0;
  std::string svg = begin_svg(kWidth, kTop + kRow * rows + 12) + text_at(16, 22, chart.title);
  double y = kTop;
  std::vector<std::string> names;  // a precision has one colour in all groups
  for (const BarGroup& group : chart.groups) {
    double most = 0.0;
    for (const Bar& bar : group.bars) most = std::max(most, bar.value);
    for (size_t i = 0; i < group.bars.size(); ++i, y += kRow) {
      const Bar& bar = group.bars[i];
      auto known = std::find(names.begin(), names.end(), bar.name);
      if (known == names.end()) known = names.insert(names.end(), bar.name);
      const char* const ink = colour(static_cast<size_t>(known - names.begin()));
      if (i == 0) svg += text_at(16, y + 13, group.name);
      svg += text_at(kLeft - 8, y + 13, bar.name, "end");
      const double length = (kWidth - kLeft - kRight) * bar.value / std::max(most, 1e-9);
      svg += fmt::format(
          "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"13\" fill=\"{}\" "
          "stroke=\"{}\"/>\n",
          kLeft, y + 2, length, bar.modelled ? "white" : ink, ink);
      svg += text_at(
          kLeft + length + 6, y + 13,
          fmt::format("{:.0f} {}{}", bar.value, chart.unit, bar.modelled ? ", modelled" : ""));
    }
    y += kRow;
  }
  return svg + "</svg>\n";
}

}  // namespace intaglio::cli
