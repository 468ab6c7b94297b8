// Progress on stderr: a bar that redraws itself on a terminal, plain lines elsewhere.
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
};
TerminalStyle stderr_style();
// Of stderr's terminal now: a window changes its size while a bar is drawn.
int terminal_columns();

// Columns that a terminal takes for `text`, UTF-8 without escape sequences: 2 for CJK and emoji, 0
// for what joins the character before.
int display_width(std::string_view text);
// As much of the beginning of `text` as fits `columns`, whole characters.
std::string_view fitting(std::string_view text, int columns);

// A bar of `columns` at most, with its colours: the name, what is done, and as much of the rest as
// fits.
struct BarText {
  std::string_view name, times;
  int64_t done = 0, total = 0;
};
std::string bar_line(const BarText& text, int columns, bool colour);

// "0.42 s", "1 min 05 s", "2 h 03 min".
std::string format_duration(double seconds);
// "12.3 M", "9.28 G", "812".
std::string format_count(uint64_t count);

enum class Verbosity { kNormal, kQuiet };

class Progress {
 public:
  explicit Progress(Verbosity verbosity = Verbosity::kNormal)
      : style_(stderr_style()), quiet_(verbosity == Verbosity::kQuiet) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool redraws() const { return style_.redraw; }
  // A phase without steps, e.g. "loading model". Nothing if it is the one shown last.
  void phase(std::string_view name);
  // `done` of `total` steps of `name`. Step time and remaining time come from the clock since the
  // first report of that name. Without a terminal a line is written for each percent at most.
  void step(std::string_view name, int64_t done, int64_t total);
  // A line that stays, above the bar.
  void line(std::string_view text);
  // Takes the bar off the screen.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const std::string& text);
  TerminalStyle style_;
  bool quiet_ = false;
  bool drawn_ = false;
  std::string name_;           // shown last
  int64_t last_percent_ = -1;  // written for it
  int64_t first_done_ = 0;     // when its clock started
  Clock::time_point start_ = Clock::now();
};

}  // namespace intaglio::cli
