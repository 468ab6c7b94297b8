// `intaglio bench`: times parts of the engine on this machine.
#include "bench/bench.h"

#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "bench/bench_link.h"
#include "bench/bench_load.h"
#include "command.h"
#include "core/files.h"
#include "core/memory.h"
#include "core/philox.h"
#include "interrupt.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMinRoundMs = 10.0;

double elapsed_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Status run_repeated(const Candidate& candidate, int64_t repeats) {
  for (int64_t i = 0; i < repeats; ++i) {
    if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
    INTAGLIO_TRY(candidate.run());
  }
  return {};
}

}  // namespace

Status run_interleaved(std::vector<Candidate>& candidates, int rounds) {
  std::vector<int64_t> repeats;
  for (const Candidate& candidate : candidates) {
    INTAGLIO_TRY(run_repeated(candidate, 1));
    const Clock::time_point start = Clock::now();
    INTAGLIO_TRY(run_repeated(candidate, 1));
    const double once = std::max(elapsed_ms(start), 1e-4);
    repeats.push_back(
        std::clamp<int64_t>(static_cast<int64_t>(std::ceil(kMinRoundMs / once)), 1, 10000));
  }
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Clock::time_point start = Clock::now();
      INTAGLIO_TRY(run_repeated(candidates[i], repeats[i]));
      candidates[i].times_ms.push_back(elapsed_ms(start) / static_cast<double>(repeats[i]));
    }
  }
  return {};
}

Expected<AlignedBuffer> normal_values(const Context& context, int64_t count, uint64_t seed) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t first = 0; first < count; first += kPiece) {
    INTAGLIO_TRY(check_cancelled(context));
    fill_normal(seed, values.data() + first, std::min(kPiece, count - first), first);
  }
  return upload(context, values);
}

nlohmann::ordered_json machine_json(const Context& context) {
  return {{"version", INTAGLIO_VERSION},
          {"cpu", context.cpu.brand},
          {"isa", cpu_isa_name(context.cpu.isa)},
          {"threads", context.threads},
          {"date", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))}};
}

Status write_result(const std::string& target, const nlohmann::ordered_json& result) {
  if (target == "-") {
    print_json(result);
    return {};
  }
  return write_file_atomic(target, json_text(result) + "\n");
}

Expected<std::vector<std::string>> parse_precisions(const std::string& text,
                                                    const std::vector<std::string>& known) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "--precision: expected names out of {}, found \"{}\"",
                        fmt::join(known, ", "), printable(name, 60));
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    begin = end + 1;
  }
  return names;
}

void add_bench(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("bench", "Time parts of the engine, or measure their errors");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  intaglio bench linear --m 4096 --n 13824 --k 4608\n"
      "  intaglio bench block --tokens 1024\n"
      "  intaglio bench step --size 1024x1024 --text-tokens 512\n"
      "`intaglio bench linear --help` and so on describe each.");
  add_bench_linear(*command, action);
  add_bench_block(*command, action);
  add_bench_step(*command, action);
  add_bench_image(*command, action);
  add_bench_load(*command, action);
  add_bench_link(*command, action);
  add_bench_schemes(*command, action);
}

}  // namespace intaglio::cli
