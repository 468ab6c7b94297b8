// Settings files of `intaglio serve`.
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "argument_values.h"
#include "fuzz/fuzz_check.h"
#include "serve/serve_settings.h"

namespace cli = intaglio::cli;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = ::memfd_create("settings", 0);
  FUZZ_CHECK(::ftruncate(file, 0) == 0);
  FUZZ_CHECK(::pwrite(file, data, size, 0) == static_cast<ssize_t>(size));
  CLI::App command;
  std::string host, config;
  std::vector<std::string> models{"mini"};
  int queue = 10;
  command.add_option("--host", host);
  command.add_option("--model", models)->allow_extra_args(false);
  command.add_option("--config", config);
  cli::limit(command.add_option("--max-queue", queue), 1, 100);
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  const intaglio::Status status = cli::apply_settings(command, "INTAGLIO_FUZZ", path);
  if (!status) FUZZ_CHECK(status.error().message.starts_with(path));
  FUZZ_CHECK(queue >= 1 && queue <= 100);
  FUZZ_CHECK(config.empty());
  return 0;
}
