// What every subcommand shares: exit codes, errors on stderr, one JSON result on stdout.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
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

// What the command line asks for; returns the exit code.
using Action = std::function<int()>;

// Each adds its subcommand to `app`, which sets `action` when it is chosen.
void add_generate(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_tune(CLI::App& app, Action& action);
void add_map(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
// Only where the server is built.
void add_serve(CLI::App& app, Action& action);
void add_worker(CLI::App& app, Action& action);
// These two read all the others: they come last.
void add_completion(CLI::App& app, Action& action);
void add_manual(CLI::App& app, Action& action);

// The exit code an error stands for.
int exit_code_of(const Error& error);

// "error: ..." on stderr; a message of several lines stays one problem.
void print_error(std::string_view message);
void print_warning(std::string_view message);
// From now on print_warning prints nothing.
void silence_warnings();

// `value` as indented JSON without a byte that a terminal obeys: what escaped() (core/escape.h)
// would not show is \uXXXX.
std::string json_text(const nlohmann::ordered_json& value);
// Prints json_text and a newline on stdout. Called at most once in a process.
void print_json(const nlohmann::ordered_json& result);

// {"status": "error" or "cancelled", "errors": [{"code", "message"}, ...]}.
nlohmann::ordered_json failure_json(const std::vector<Error>& errors);
// Every problem on stderr.
void print_errors(const std::vector<Error>& errors);
// Reports the failure of a command on stderr and, with `json`, on stdout. Returns the exit code of
// the first.
int fail(const std::vector<Error>& errors, bool json);
int fail(const Error& error, bool json);

}  // namespace intaglio::cli
