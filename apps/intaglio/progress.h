// Progress on stderr: a bar that redraws itself on a terminal, one plain line per step elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace intaglio::cli {

// How stderr wants its text.
struct TerminalStyle {
  bool redraw = false;  // a terminal that can go back to the start of a line
  bool colour = false;  // false under NO_COLOR
  int columns = 80;
};
TerminalStyle stderr_style();

// "0.42 s", "1 min 05 s", "2 h 03 min".
std::string format_duration(double seconds);
// "12.3 M", "9.28 G", "812".
std::string format_count(uint64_t count);

class Progress {
 public:
  Progress() : style_(stderr_style()) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool redraws() const { return style_.redraw; }
  // A phase without steps, e.g. "loading model".
  void phase(std::string_view name);
  // `done` of `total` steps of `name`. Step time and remaining time come from the clock since done
  // = 0 was reported.
  void step(std::string_view name, int64_t done, int64_t total);
  // A line that stays, above the bar.
  void line(std::string_view text);
  // Takes the bar off the screen.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const std::string& text);
  TerminalStyle style_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
};

}  // namespace intaglio::cli
