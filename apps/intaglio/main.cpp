// The command line: parses, hands over to one subcommand, returns its exit code.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "command.h"
#include "core/log.h"

namespace {

void print_log(intaglio::LogLevel level, std::string_view message) {
  const char* prefix = level == intaglio::LogLevel::kError     ? "error: "
                       : level == intaglio::LogLevel::kWarning ? "warning: "
                                                               : "";
  if (level != intaglio::LogLevel::kDebug) fmt::print(stderr, "{}{}\n", prefix, message);
}

int run(int argc, char** argv) {
  using namespace intaglio::cli;
  CLI::App app{"Intaglio makes pictures from text with diffusion transformers in INT8.",
               "intaglio"};
  app.set_version_flag("--version", fmt::format("intaglio {}", INTAGLIO_VERSION));
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Examples:\n"
      "  intaglio generate --model mini --prompt \"a red fox on white\" --output fox.png\n"
      "  intaglio inspect models/mini\n"
      "  intaglio verify tests/reference/data\n"
      "  intaglio bench linear --m 4096 --n 4608 --k 4608\n"
      "\n"
      "Exit codes: 0 success, 1 failure, 2 wrong usage, 130 cancelled.\n"
      "`intaglio COMMAND --help` describes a command.");
  int exit_code = kExitOk;
  add_generate(app, exit_code);
  add_verify(app, exit_code);
  add_inspect(app, exit_code);
  add_bench(app, exit_code);
  add_tune(app, exit_code);
  add_map(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    print_error(error.what());
    fmt::print(
        stderr, "`intaglio{} --help` lists what is possible.\n",
        app.get_subcommands().empty() ? "" : " " + app.get_subcommands().front()->get_name());
    return kExitUsage;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  intaglio::set_log_callback(print_log);
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    intaglio::cli::print_error("out of memory");
  } catch (const std::exception& exception) {
    intaglio::cli::print_error(exception.what());
  }
  return intaglio::cli::kExitFailure;
}
