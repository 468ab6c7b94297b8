// Signals that ask the program to stop, as a flag that long work looks at.
#pragma once

#include <atomic>

namespace intaglio::cli {

// Set by the first SIGINT, SIGTERM or SIGHUP.
extern std::atomic<bool> interrupted;

// While one lives the first signal, too, ends the process at once: for work that writes nothing and
// does not look at the flag, such as another library's.
class EndAtOnce {
 public:
  EndAtOnce();
  ~EndAtOnce();
  EndAtOnce(const EndAtOnce&) = delete;
  EndAtOnce& operator=(const EndAtOnce&) = delete;
};

// 128 and the number of the signal that asked to stop: 130, 143, 129; 130 without one.
int interrupt_exit_code();

// The first SIGINT, SIGTERM or SIGHUP sets the flag; the next ends the process at once. One that is
// ignored already (nohup, background jobs of a shell) stays ignored. No signal that a process can
// see leaves a temporary file. Writing to a closed pipe or beyond the limit of a file's size is an
// error of that write, not the end of the process.
void install_signal_handlers();

}  // namespace intaglio::cli
