// Timing shared by the benchmarks: candidates run in interleaved rounds, so that a change of clock
// or load meets all of them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/spread.h"
#include "command.h"
#include "core/context.h"
#include "core/status.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

void add_bench_linear(CLI::App& bench, Action& action);
void add_bench_block(CLI::App& bench, Action& action);
void add_bench_step(CLI::App& bench, Action& action);
void add_bench_image(CLI::App& bench, Action& action);
void add_bench_schemes(CLI::App& bench, Action& action);

// One thing to time.
struct Candidate {
  std::string name;
  std::function<Status()> run;
  double error = 0.0;  // against the reference, checked before timing
  double tolerance = 0.0;
  std::vector<double> times_ms;  // one a round
  nlohmann::ordered_json extra;  // joins the candidate's JSON
};

// Runs every candidate once to warm up, then `rounds` times in turn; short ones are repeated within
// a round to at least 10 ms.
Status run_interleaved(std::vector<Candidate>& candidates, int rounds);

// `count` standard normal values in memory of the context's device; kCancelled soon after the
// context's flag is set.
Expected<AlignedBuffer> normal_values(const Context& context, int64_t count, uint64_t seed);

// What a result must name to be repeated: version, CPU, ISA, threads, date, command line.
nlohmann::ordered_json machine_json(const Context& context);

// Writes `result` to a file, or to stdout for "-".
Status write_result(const std::string& target, const nlohmann::ordered_json& result);

// Splits "int8,bf16" and checks each name; kInvalidArgument names the one that is unknown.
Expected<std::vector<std::string>> parse_precisions(const std::string& text,
                                                    const std::vector<std::string>& known);

}  // namespace intaglio::cli
