#include "serve/engine_flags.h"

#include <CLI/CLI.hpp>

#include "argument_values.h"
#include "server/redis_url.h"

namespace intaglio::cli {

void add_engine_flags(CLI::App& command, EngineFlags& flags) {
  command
      .add_option(
          "--model", flags.models,
          "Model to draw with, as `generate` takes it; may be given again, the first is the "
          "default")
      ->type_name("NAME|DIR")
      ->allow_extra_args(false)
      ->capture_default_str();
  add_precision_flag(command, flags.run.precision);
  command
      .add_option("--device", flags.run.device,
                  "Where to compute: cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  add_devices_flag(command, flags.devices);
  choose_from(command.add_option("--parallel", flags.parallel,
                                 "What the GPUs of --devices do, as for `generate`"),
              {"off", "ulysses", "cfg+ulysses"})
      ->capture_default_str();
  add_threads_flag(command, flags.run.threads);
  command
      .add_option("--memory-limit", flags.memory_limit,
                  "Refuse pictures that need more; by default what is available")
      ->type_name("SIZE");
  command.add_option("--vram-budget", flags.vram_budget, "Memory of the GPU to work in")
      ->type_name("SIZE");
  command.add_option("--lora-dir", flags.lora_dir, "Folder of adapters that requests may name")
      ->type_name("DIR");
}

Status read_engine_flags(const EngineFlags& flags, server::ServiceOptions& options) {
  options.models = flags.models;
  options.precision = flags.run.precision;
  options.device = flags.devices.value_or(flags.run.device);
  options.parallel = flags.parallel;
  options.threads = flags.run.threads;
  INTAGLIO_TRY(parse_devices(flags.run.device, flags.devices, flags.parallel));
  if (flags.lora_dir) options.lora_folder = *flags.lora_dir;
  for (const auto& [flag, text, target] :
       {std::tuple("--memory-limit", &flags.memory_limit, &options.memory_limit),
        std::tuple("--vram-budget", &flags.vram_budget, &options.vram_budget)}) {
    if (!*text) continue;
    INTAGLIO_ASSIGN(*target, parse_memory(flag, **text));
  }
  return {};
}

void add_queue_flags(CLI::App& command, QueueFlags& flags) {
  command
      .add_option("--queue", flags.queue,
                  "Redis that any number of `serve` and `worker` share, as "
                  "redis://USER:PASSWORD@HOST:PORT/DATABASE")
      ->type_name("ADDRESS");
  command
      .add_option("--results", flags.results,
                  "Where pictures of such a queue lie: a folder that all its machines see, or "
                  "s3://BUCKET/PREFIX; by default the folder `results` in serve's data folder")
      ->type_name("DIR|ADDRESS");
  limit(command.add_option("--lease-seconds", flags.lease_seconds,
                           "How long a worker of such a queue may say nothing before another "
                           "takes its job; the same for all"),
        1, 3600)
      ->capture_default_str();
}

Status read_queue_flags(const QueueFlags& flags, server::ServiceOptions& options) {
  options.queue = flags.queue;
  options.results = flags.results;
  options.lease = std::chrono::milliseconds(flags.lease_seconds * 1000);
  if (flags.queue.empty()) {
    if (flags.results.empty()) return {};
    return make_error(ErrorCode::kInvalidArgument,
                      "--results: expected together with --queue, as without it pictures lie in "
                      "--data-dir");
  }
  INTAGLIO_TRY(server::parse_redis_url("--queue", flags.queue));
  return {};
}

std::string shown_queue(const server::ServiceOptions& options) {
  const auto url = server::parse_redis_url("--queue", options.queue);
  return url ? url->shown() : "";
}

void add_stop_seconds_flag(CLI::App& command, int& seconds) {
  limit(command.add_option("--stop-seconds", seconds,
                           "How long a signal waits for the job that is drawn before it goes back "
                           "into the queue"),
        0, 3600)
      ->capture_default_str();
}

}  // namespace intaglio::cli
