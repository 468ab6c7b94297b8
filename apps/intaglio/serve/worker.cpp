// `intaglio worker`: draws jobs of a queue that servers share.
#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <thread>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "interrupt.h"
#include "serve/engine_flags.h"
#include "serve/message_log.h"
#include "serve/serve_settings.h"
#include "server/redis_queue.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using namespace intaglio::server;

constexpr std::string_view kPrefix = "INTAGLIO_WORKER";

struct WorkerFlags {
  EngineFlags engine;
  QueueFlags queue;
  std::optional<std::string> config;
  int stop_seconds = 30;
  std::string log_format = "text";
};

Status work(const WorkerFlags& flags, MessageLog& log) {
  ServiceOptions options;
  if (flags.queue.queue.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "--queue: missing, expected redis://HOST as `intaglio serve` has it");
  if (flags.queue.results.empty()) {
    INTAGLIO_ASSIGN(options.folder, data_folder("serve"));
  }
  INTAGLIO_TRY(read_engine_flags(flags.engine, options));
  INTAGLIO_TRY(read_queue_flags(flags.queue, options));
  INTAGLIO_ASSIGN(const std::unique_ptr<RedisWorker> worker, open_worker(options));
  print(Stream::kOut, "{} draws on {}\n", worker->name(), worker->device());
  log.message("info",
              fmt::format("draws jobs of {} on {}", shown_queue(options), worker->device()));
  constexpr std::chrono::milliseconds kLook{50};
  while (!interrupted) std::this_thread::sleep_for(kLook);
  log.message("info", "stopping: finishes what is drawn; another signal ends at once");
  worker->stop(std::chrono::seconds(flags.stop_seconds));
  log.message("info", "stopped");
  return {};
}

int run_worker(CLI::App& command, WorkerFlags& flags) {
  const fs::path file =
      flags.config ? fs::path(*flags.config) : default_settings_file("worker.toml");
  if (const Status status = apply_settings(command, kPrefix, file); !status)
    return fail(status.error(), false);
  MessageLog log(flags.log_format);
  if (const Status status = work(flags, log); !status) return fail(status.error(), false);
  return kExitOk;
}

}  // namespace

void add_worker(CLI::App& app, Action& action) {
  auto flags = std::make_shared<WorkerFlags>();
  CLI::App* command = app.add_subcommand("worker", "Draw jobs of a queue that servers share");
  add_queue_flags(*command, flags->queue);
  add_engine_flags(*command, flags->engine);
  add_stop_seconds_flag(*command, flags->stop_seconds);
  add_log_format_flag(*command, flags->log_format);
  command
      ->add_option("--config", flags->config,
                   "File of settings, lines such as device = \"cuda:1\"; by default "
                   "$XDG_CONFIG_HOME/intaglio/worker.toml or ~/.config/intaglio/worker.toml")
      ->type_name("FILE");
  command->footer(
      "One worker a card. Models and adapters are those of `intaglio serve --queue`, which\n"
      "only looks at them.\n"
      "Every option but --config may also stand in that file, without its dashes, and in the\n"
      "environment: --queue as INTAGLIO_WORKER_QUEUE. The command line goes before the\n"
      "environment, the environment before the file.\n"
      "\n"
      "Examples:\n"
      "  intaglio worker --queue redis://queue.lan --results /mnt/pictures \\\n"
      "      --device cuda:0\n"
      "  intaglio worker --queue redis://queue.lan --results s3://pictures/intaglio");
  command->callback([flags, command, &action] {
    action = [flags, command] { return run_worker(*command, *flags); };
  });
}

}  // namespace intaglio::cli
