// Ctrl-C and SIGTERM as a flag that long work looks at.
#pragma once

#include <atomic>

namespace intaglio::cli {

// Set by SIGINT or SIGTERM after install_interrupt_handler().
extern std::atomic<bool> interrupted;

// The first signal sets the flag; a second one ends the process at once with exit code 130.
void install_interrupt_handler();

}  // namespace intaglio::cli
