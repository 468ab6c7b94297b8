#include "interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "core/atomic_file.h"

namespace intaglio::cli {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

namespace {

constexpr int kSignalExit = 128;

std::atomic<int> first_signal{0};
std::atomic<int> ends_at_once{0};  // EndAtOnce that live

void on_stop(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  if (!interrupted.exchange(true) && ends_at_once == 0) return;
  remove_temporary_files();
  ::_exit(kSignalExit + signal);
}

// Installed for one delivery: raising it again ends the process as it would have without us.
void on_end(int signal) {
  remove_temporary_files();
  ::raise(signal);
}

// Leaves a signal alone that someone else handles or ignores.
void install(int signal, void (*handler)(int), int flags) {
  struct sigaction present {};
  if (::sigaction(signal, nullptr, &present) != 0 || present.sa_handler != SIG_DFL) return;
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = flags;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

EndAtOnce::EndAtOnce() {
  ++ends_at_once;
  // A signal that came before.
  if (interrupted) ::_exit(interrupt_exit_code());
}

EndAtOnce::~EndAtOnce() { --ends_at_once; }

int interrupt_exit_code() {
  const int signal = first_signal;
  return kSignalExit + (signal != 0 ? signal : SIGINT);
}

void install_signal_handlers() {
  AtomicFile::set_cancel(&interrupted);
  // With SA_RESTART a write in progress goes on and is whole.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) install(signal, on_stop, SA_RESTART);
  for (const int signal : {SIGQUIT, SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGPOLL, SIGPROF,
                           SIGSEGV, SIGSYS, SIGTRAP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU}) {
    install(signal, on_end, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace intaglio::cli
