// The one place of this program that writes to stdout and stderr. Progress is optional: what stderr
// does not take is dropped. Results are not: what stdout does not take makes the command fail
// (finish_output).
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "core/escape.h"

namespace intaglio::cli {

enum class Stream { kOut, kErr };

// Opens what the caller closed of stdin, stdout and stderr, so that no file of the run takes the
// place. Writing to it fails as to a closed one. Call first.
void open_missing_streams();

// False where stdout takes no writing at all: it was closed or is open for reading.
bool stdout_is_open();
// Whether a write to stdout has failed.
bool stdout_failed();

// Our own text as it is, colours too.
void write_text(Stream stream, std::string_view text);

// A message: texts among `args` are escaped, so nothing out of a file or an argument reaches a
// terminal raw.
template <typename... Args>
void print(Stream stream, fmt::format_string<Args...> format, Args&&... args) {
  write_text(stream, message_of(format, std::forward<Args>(args)...));
}

// Closes stdout. The exit code of a command that ended with `exit_code`: 1 instead of 0 if stdout
// did not take all of its output, which is told on stderr unless the reader went away.
int finish_output(int exit_code);

}  // namespace intaglio::cli
