// Flags that `serve` and `worker` share, and their values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "options.h"
#include "server/job_service.h"

namespace intaglio::cli {

// What draws, and with what.
struct EngineFlags {
  std::vector<std::string> models{"mini"};
  RunFlags run;
  std::string parallel = "off";
  std::optional<std::string> devices, lora_dir, memory_limit, vram_budget;
};
void add_engine_flags(CLI::App& command, EngineFlags& flags);
Status read_engine_flags(const EngineFlags& flags, server::ServiceOptions& options);

// Where several machines share jobs.
struct QueueFlags {
  std::string queue, results;
  int lease_seconds = 10;
};
void add_queue_flags(CLI::App& command, QueueFlags& flags);
Status read_queue_flags(const QueueFlags& flags, server::ServiceOptions& options);
// Without user and password.
std::string shown_queue(const server::ServiceOptions& options);

void add_stop_seconds_flag(CLI::App& command, int& seconds);

}  // namespace intaglio::cli
