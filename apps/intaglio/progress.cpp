#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace intaglio::cli {

TerminalStyle stderr_style() {
  TerminalStyle style;
  const char* term = std::getenv("TERM");
  style.redraw =
      ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  const char* no_colour = std::getenv("NO_COLOR");
  style.colour = style.redraw && (no_colour == nullptr || *no_colour == '\0');
  winsize size{};
  if (style.redraw && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    style.columns = size.ws_col;
  return style;
}

std::string format_duration(double seconds) {
  if (seconds < 9.995) return fmt::format("{:.2f} s", seconds);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::string format_count(uint64_t count) {
  static constexpr std::array<const char*, 4> kUnits{"", " k", " M", " G"};
  if (count < 1000) return fmt::format("{}", count);
  double value = static_cast<double>(count);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

void Progress::draw(const std::string& text) {
  fmt::print(stderr, "\r\x1b[K{}", text);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

void Progress::phase(std::string_view name) {
  start_ = Clock::now();
  if (style_.redraw) {
    draw(fmt::format("{} ...", name));
  } else {
    line(fmt::format("{} ...", name));
  }
}

void Progress::step(std::string_view name, int64_t done, int64_t total) {
  if (done == 0) start_ = Clock::now();
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double step_time = done > 0 ? elapsed / static_cast<double>(done) : 0.0;
  std::string times = "starting";
  if (done > 0) {
    times = fmt::format("{}/step, {} left", format_duration(step_time),
                        format_duration(step_time * static_cast<double>(total - done)));
  }
  if (!style_.redraw) {
    if (done > 0) line(fmt::format("{} {}/{}, {}", name, done, total, times));
    return;
  }
  const std::string head = fmt::format("{} ", name);
  const std::string tail = fmt::format(" {}/{}  {}", done, total, times);
  // One column stays free: some terminals wrap when the last one is written.
  const int64_t room = style_.columns - 1 - static_cast<int64_t>(head.size() + tail.size());
  const int64_t width = std::min<int64_t>(room, 40);
  std::string bar;
  if (width >= 5 && total > 0) {
    const int64_t filled = width * std::clamp<int64_t>(done, 0, total) / total;
    if (style_.colour) bar += "\x1b[36m";
    for (int64_t i = 0; i < filled; ++i) bar += "━";
    if (style_.colour) bar += "\x1b[90m";
    for (int64_t i = filled; i < width; ++i) bar += style_.colour ? "━" : "·";
    if (style_.colour) bar += "\x1b[0m";
  }
  draw(room >= 0 ? head + bar + tail
                 : (head + tail).substr(0, static_cast<size_t>(std::max(style_.columns - 1, 0))));
}

void Progress::line(std::string_view text) {
  clear();
  fmt::print(stderr, "{}\n", text);
  std::fflush(stderr);
}

}  // namespace intaglio::cli
