// `intaglio bench link`.
#pragma once

#include "command.h"

namespace intaglio::cli {

void add_bench_link(CLI::App& bench, Action& action);

}  // namespace intaglio::cli
