// `intaglio bench load`.
#pragma once

#include "command.h"

namespace intaglio::cli {

void add_bench_load(CLI::App& bench, Action& action);

}  // namespace intaglio::cli
