// What every subcommand shares: exit codes, errors on stderr, one JSON result on stdout.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitCancelled = 130;

// Each adds its subcommand to `app`; when chosen, it runs and stores its exit code.
void add_generate(CLI::App& app, int& exit_code);
void add_verify(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_tune(CLI::App& app, int& exit_code);
void add_map(CLI::App& app, int& exit_code);

// The exit code an error stands for.
int exit_code_of(const Error& error);

// "error: ..." on stderr; a message of several lines stays one problem.
void print_error(std::string_view message);

// Prints `result` and a newline on stdout. Called at most once in a process.
void print_json(const nlohmann::ordered_json& result);

// Reports the failure of a command: every problem on stderr and, with `json`, {"status": "error",
// "errors": [...]} on stdout. Returns the exit code of the first.
int fail(const std::vector<Error>& errors, bool json);
int fail(const Error& error, bool json);

}  // namespace intaglio::cli
