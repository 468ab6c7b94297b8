#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "console.h"

namespace intaglio::cli {
namespace {

constexpr int kDefaultColumns = 80;
constexpr int kLongestBar = 40, kShortestBar = 5;

// Calls visit(bytes, columns) for each character until it returns false.
template <typename Visit>
void each_character(std::string_view text, Visit visit) {
  while (!text.empty()) {
    utf8proc_int32_t code_point = -1;
    const utf8proc_ssize_t read =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                         static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    const size_t bytes = read > 0 ? static_cast<size_t>(read) : 1;
    if (!visit(bytes, read > 0 ? utf8proc_charwidth(code_point) : 1)) return;
    text.remove_prefix(bytes);
  }
}

}  // namespace

TerminalStyle stderr_style() {
  TerminalStyle style;
  const char* term = std::getenv("TERM");
  style.redraw =
      ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  const char* no_colour = std::getenv("NO_COLOR");
  style.colour = style.redraw && (no_colour == nullptr || *no_colour == '\0');
  return style;
}

int terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : kDefaultColumns;
}

int display_width(std::string_view text) {
  int width = 0;
  each_character(text, [&](size_t, int columns) {
    width += columns;
    return true;
  });
  return width;
}

std::string_view fitting(std::string_view text, int columns) {
  size_t bytes = 0;
  each_character(text, [&](size_t size, int width) {
    columns -= width;
    if (columns >= 0) bytes += size;
    return columns >= 0;
  });
  return text.substr(0, bytes);
}

std::string bar_line(const BarText& text, int columns, bool colour) {
  const std::string count = fmt::format(" {}/{}", text.done, text.total);
  const std::string tail = fmt::format("{}  {}", count, text.times);
  const int head_width = display_width(text.name) + 1;
  const int width = std::min(columns - head_width - display_width(tail), kLongestBar);
  if (width < kShortestBar) {
    // No room for a bar: the numbers matter more than the end of the name or the times.
    const std::string_view name = fitting(text.name, columns - display_width(count));
    std::string line = std::string(name) + count;
    const std::string rest = fmt::format("  {}", text.times);
    if (display_width(line) + display_width(rest) <= columns) line += rest;
    return std::string(fitting(line, columns));
  }
  const int64_t filled =
      text.total > 0 ? width * std::clamp<int64_t>(text.done, 0, text.total) / text.total : 0;
  std::string bar = std::string(text.name) + " ";
  if (colour) bar += "\x1b[36m";
  for (int64_t i = 0; i < filled; ++i) bar += "━";
  if (colour) bar += "\x1b[90m";
  for (int64_t i = filled; i < width; ++i) bar += colour ? "━" : "·";
  if (colour) bar += "\x1b[0m";
  return bar + tail;
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
  write_text(Stream::kErr, "\r\x1b[K" + text);
  drawn_ = true;
}

void Progress::clear() {
  if (!drawn_) return;
  write_text(Stream::kErr, "\r\x1b[K");
  drawn_ = false;
}

void Progress::phase(std::string_view name) {
  if (quiet_ || (name == name_ && (drawn_ || !style_.redraw))) return;
  name_ = name;
  last_percent_ = -1;
  start_ = Clock::now();
  first_done_ = 0;
  const std::string text = escaped(name) + " ...";
  if (style_.redraw) {
    draw(std::string(fitting(text, terminal_columns() - 1)));
  } else {
    line(text);
  }
}

void Progress::step(std::string_view name, int64_t done, int64_t total) {
  if (quiet_) return;
  if (name != name_) {
    name_ = name;
    last_percent_ = -1;
    start_ = Clock::now();
    first_done_ = done;
  }
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  std::string times = "starting";
  if (done > first_done_) {
    const double step_time = elapsed / static_cast<double>(done - first_done_);
    times = fmt::format("{}/step, {} left", format_duration(step_time),
                        format_duration(step_time * static_cast<double>(total - done)));
  }
  const std::string shown = escaped(name);
  if (style_.redraw) {
    // One column stays free: some terminals wrap when the last one is written.
    draw(bar_line({shown, times, done, total}, terminal_columns() - 1, style_.colour));
    return;
  }
  const int64_t percent = total > 0 ? 100 * done / total : 100;
  if (done <= 0 || percent == last_percent_) return;
  last_percent_ = percent;
  line(fmt::format("{} {}/{}, {}", shown, done, total, times));
}

void Progress::line(std::string_view text) {
  if (quiet_) return;
  clear();
  print(Stream::kErr, "{}\n", text);
}

}  // namespace intaglio::cli
