#include "interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "command.h"

namespace intaglio::cli {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

namespace {

void on_signal(int) {
  if (interrupted.exchange(true)) ::_exit(kExitCancelled);
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a write in progress goes on and is whole
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // Writing to a closed pipe is an error of that write, not the end of the picture.
  ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace intaglio::cli
