// `intaglio bench`: times parts of the engine on this machine.
#include "bench.h"

#include <CLI/CLI.hpp>

#include "command.h"

namespace intaglio::cli {

void add_bench(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("bench", "Time parts of the engine");
  command->require_subcommand(1);
  add_bench_linear(*command, exit_code);
  add_bench_block(*command, exit_code);
}

}  // namespace intaglio::cli
