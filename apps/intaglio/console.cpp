#include "console.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "interrupt.h"

namespace intaglio::cli {
namespace {

// A pipe that is ready for writing takes this much at once (POSIX's least PIPE_BUF is 512, Linux's
// is 4096).
constexpr size_t kWholeWrite = 4096;
constexpr int kGraceMs = 200;  // after a signal, for a reader that is slow

std::atomic<int> stdout_error{0};

// Waits until `descriptor` takes a write; false if a signal asked to stop before it did.
bool wait_writable(int descriptor) {
  for (;;) {
    pollfd ready{.fd = descriptor, .events = POLLOUT, .revents = 0};
    const int count = ::poll(&ready, 1, interrupted ? kGraceMs : -1);
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) return true;  // the write will tell why
  }
}

// 0, or the system's reason.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    if (!wait_writable(descriptor)) return EINTR;
    const ssize_t written = ::write(descriptor, text.data(), std::min(text.size(), kWholeWrite));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

}  // namespace

void open_missing_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is this one. The wrong way round, so that reading or writing fails.
    static_cast<void>(::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
  }
}

bool stdout_is_open() {
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  return flags != -1 && (flags & O_ACCMODE) != O_RDONLY;
}

bool stdout_failed() { return stdout_error != 0; }

void write_text(Stream stream, std::string_view text) {
  if (stream == Stream::kErr) {
    static_cast<void>(write_all(STDERR_FILENO, text));
  } else if (!stdout_failed()) {
    stdout_error = write_all(STDOUT_FILENO, text);
  }
}

int finish_output(int exit_code) {
  // A network's file system may tell only now that the disk is full.
  if (::close(STDOUT_FILENO) != 0 && errno != EINTR && !stdout_failed()) stdout_error = errno;
  if (!stdout_failed()) return exit_code;
  if (stdout_error != EPIPE && stdout_error != EINTR) {
    print(Stream::kErr, "error: cannot write standard output: {}\n",
          stdout_error == EBADF ? "it is closed" : std::strerror(stdout_error));
  }
  return exit_code == 0 ? 1 : exit_code;
}

}  // namespace intaglio::cli
