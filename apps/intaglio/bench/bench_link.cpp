// `intaglio bench link`: what cards give each other around attention when they share passes.
#include "bench/bench_link.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <list>
#include <memory>

#include "advice/measure_link.h"
#include "advice/split_model.h"
#include "argument_values.h"
#include "bench/bench.h"
#include "bench/spread.h"
#include "command.h"
#include "console.h"
#include "core/device_link.h"
#include "core/memory_info.h"
#include "interrupt.h"
#include "options.h"
#include "pipeline/device.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

// The first is short enough for what a meeting takes, the last of what a layer of a large picture
// sends.
constexpr size_t kPieces[] = {4096, 65536, 1 << 20, 16 << 20, 64 << 20};

struct LinkFlags {
  std::string devices, most = "64M", json;
  int rounds = 20;
};

// Two ranks of the host's memory, or the GPUs of --devices.
Expected<std::list<DeviceContext>> open_ranks(const std::string& devices) {
  std::list<DeviceContext> ranks;
  std::vector<std::optional<int>> gpus{std::nullopt, std::nullopt};
  if (devices != "cpu") {
    INTAGLIO_ASSIGN(const DeviceChoice choice,
                    devices_from_names("--devices", devices, Parallel::kUlysses));
    gpus = {choice.gpu};
    gpus.insert(gpus.end(), choice.rank_gpus.begin(), choice.rank_gpus.end());
  }
  for (const std::optional<int> gpu : gpus) {
    INTAGLIO_ASSIGN(DeviceContext rank, open_device(gpu, 1));
    ranks.push_back(std::move(rank));
    ranks.back().context.cancel = &interrupted;
  }
  return ranks;
}

// What plans take, of the slowest card; nullopt on the CPU.
Expected<std::optional<LinkRates>> assumed_rates(std::span<const Context* const> contexts) {
  std::optional<LinkRates> assumed;
  if (contexts.front()->gpu == nullptr) return assumed;
  for (const Context* const a : contexts) {
    for (const Context* const b : contexts) {
      INTAGLIO_ASSIGN(const bool direct, reach_each_other(*a, *b));
      const LinkRates rates = link_rates(card_rates(*a->gpu), direct);
      if (!assumed || rates.gb_s < assumed->gb_s) assumed = rates;
    }
  }
  return assumed;
}

ordered_json exchange_json(const TimedExchange& timed, const Spread& ms) {
  return {{"bytes", timed.bytes},
          {"ms", ms.median},
          {"min_ms", ms.min},
          {"max_ms", ms.max},
          {"gb_s", timed.gb_s(ms.median)}};
}

Status run_link(const LinkFlags& flags) {
  INTAGLIO_TRY(check_files({.outputs = {{"--json", flags.json}}, .inputs = {}}));
  INTAGLIO_ASSIGN(const uint64_t most, parse_memory("--most", flags.most));
  if (most < kPieces[0])
    return make_error(ErrorCode::kInvalidArgument, "--most: {}, expected at least {} bytes", most,
                      kPieces[0]);
  INTAGLIO_ASSIGN(const std::list<DeviceContext> ranks, open_ranks(flags.devices));
  std::vector<const Context*> contexts;
  std::vector<std::string> names;
  for (const DeviceContext& rank : ranks) {
    contexts.push_back(&rank.context);
    names.push_back(device_name(rank.context));
  }
  INTAGLIO_ASSIGN(const std::optional<LinkRates> assumed, assumed_rates(contexts));
  INTAGLIO_ASSIGN(const auto group, make_collective_group(contexts));
  const Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  for (size_t i = 0; i < names.size(); ++i) print(out, "rank {}: {}\n", i, names[i]);
  print(out, "{:>12} {:>12} {:>12}\n", "to each", "exchange", "out of each");
  ordered_json exchanges = ordered_json::array();
  for (const size_t bytes : kPieces) {
    if (bytes > most) break;
    INTAGLIO_ASSIGN(const TimedExchange timed,
                    time_exchange(contexts, *group, bytes, flags.rounds));
    const Spread ms = spread_of(timed.ms);
    print(out, "{:>12} {:>9.4f} ms {:>7.1f} GB/s\n", format_bytes(bytes), ms.median,
          timed.gb_s(ms.median));
    exchanges.push_back(exchange_json(timed, ms));
  }
  if (assumed)
    print(out, "plans take {:.1f} GB/s, and {:.4f} ms beside the bytes\n", assumed->gb_s,
          assumed->meeting_ms);
  if (flags.json.empty()) return {};
  ordered_json plans;
  if (assumed) plans = {{"gb_s", assumed->gb_s}, {"meeting_ms", assumed->meeting_ms}};
  return write_result(flags.json, {{"benchmark", "link"},
                                   {"machine", machine_json(*contexts.front())},
                                   {"devices", names},
                                   {"rounds", flags.rounds},
                                   {"exchanges", exchanges},
                                   {"plans_take", plans}});
}

}  // namespace

void add_bench_link(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<LinkFlags>();
  CLI::App* command = bench.add_subcommand(
      "link", "What GPUs give each other around attention where they share passes");
  command
      ->add_option("--devices", flags->devices,
                   "Two to eight GPUs, such as 0,1; cpu: two ranks of the host's memory")
      ->type_name("N,N")
      ->required();
  command
      ->add_option("--most", flags->most,
                   "The largest piece that a GPU sends each other one, with K, M or G")
      ->type_name("SIZE")
      ->capture_default_str();
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds of each size"), 1, 1000)
      ->capture_default_str();
  command->add_option("--json", flags->json, "Write results to a file, or - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "All GPUs send at once, each an equal piece to each other one, and all wait for all: what a "
      "layer of a pass that GPUs share does twice. INTAGLIO_GPU_LINK says how, as there.\n"
      "Example:\n"
      "  intaglio bench link --devices 0,1 --json link.json");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_link(*flags);
      return status ? kExitOk : fail(status.error(), flags->json == "-");
    };
  });
}

}  // namespace intaglio::cli
