// The command line: parses, hands over to one subcommand, returns its exit code.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>

#include "argument_check.h"
#include "cache/cache.h"
#include "command.h"
#include "console.h"
#include "core/log.h"
#include "help_text.h"
#include "interrupt.h"

namespace {

using namespace intaglio::cli;

void print_log(intaglio::LogLevel level, std::string_view message) {
  if (level == intaglio::LogLevel::kError) print_error(message);
  if (level == intaglio::LogLevel::kWarning) print_warning(message);
  if (level == intaglio::LogLevel::kInfo) {
    print(Stream::kErr, "{}\n",
          intaglio::OwnLines{intaglio::escaped(message, intaglio::LineBreaks::kIndented)});
  }
}

int fail_usage(const CLI::App& command, const std::vector<intaglio::Error>& errors) {
  print_errors(errors);
  std::string name = command.get_name();
  for (const CLI::App* a = command.get_parent(); a != nullptr; a = a->get_parent())
    name = a->get_name() + " " + name;
  print(Stream::kErr, "`{} --help` lists what is possible.\n", name);
  return kExitUsage;
}

// Settings that would be passed over in silence. INTAGLIO_CPU_ISA is checked by whoever computes.
std::vector<intaglio::Error> environment_errors() {
  std::vector<intaglio::Error> errors;
  struct Setting {
    const char* name;
    const char* only;
    const char* other = nullptr;
  };
  for (const Setting& setting : {Setting{"INTAGLIO_TRACE", "dispatch"},
                                 {"INTAGLIO_GPU_ISA", "sm80"},
                                 {"INTAGLIO_GPU_LINK", "host", "nccl"}}) {
    const char* const value = std::getenv(setting.name);
    if (value == nullptr || *value == '\0' || std::string_view(value) == setting.only) continue;
    if (setting.other != nullptr && std::string_view(value) == setting.other) continue;
    const std::string expected = setting.other == nullptr
                                     ? setting.only
                                     : fmt::format("{} or {}", setting.only, setting.other);
    errors.push_back(
        {intaglio::ErrorCode::kInvalidArgument,
         intaglio::message_of("{}: expected {}, found \"{}\"", setting.name, expected, value)});
  }
  return errors;
}

int run(int argc, char** argv) {
  CLI::App app{"Intaglio makes pictures from text with diffusion transformers in INT8.",
               "intaglio"};
  app.set_version_flag("--version", fmt::format("intaglio {}", INTAGLIO_VERSION), "Print it");
  app.set_help_flag("-h,--help", "Print this");
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpText>());
  app.footer(
      "Examples:\n"
      "  intaglio generate --prompt \"a red fox on white\" --output fox.png\n"
      "  intaglio inspect mini\n"
      "  intaglio verify tests/reference/data\n"
      "  intaglio bench linear --m 1024 --n 4608 --k 4608\n"
      "\n"
      "Environment:\n"
      "  INTAGLIO_MODELS    folder with the bundled model \"mini\", before others\n"
      "  INTAGLIO_TRACE     dispatch: which kernel runs each op, and who refused why\n"
      "  INTAGLIO_CPU_ISA   ref, avx2, avx512vnni, amx: no more than this of the CPU\n"
      "  INTAGLIO_GPU_ISA   sm80: an H100 runs the kernels of an Ampere GPU\n"
      "  INTAGLIO_GPU_LINK  host: GPUs of --devices exchange through its memory;\n"
      "                     nccl: those that share passes through NCCL\n"
      "  HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME\n"
      "                     where a model named OWNER/NAME is looked up, before\n"
      "                     $XDG_CACHE_HOME/huggingface and ~/.cache/huggingface\n"
      "  XDG_CACHE_HOME     what `tune` and `map` keep is in its folder intaglio,\n"
      "                     prepared weights too; without it in $HOME/.cache/intaglio\n"
      "  INTAGLIO_PACKED_CACHE\n"
      "                     off, or how much prepared weights may take there (`cache`)\n"
      "  INTAGLIO_TOKEN     what requests to `serve` must carry; its options are\n"
      "                     INTAGLIO_SERVE_HOST, INTAGLIO_SERVE_PORT and so on, those\n"
      "                     of `worker` INTAGLIO_WORKER_QUEUE and so on\n"
      "  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,\n"
      "  AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3\n"
      "                     of the store of --results s3://BUCKET\n"
      "  XDG_DATA_HOME, XDG_CONFIG_HOME\n"
      "                     where `serve` and `worker` keep jobs and have settings\n"
      "  NO_COLOR           no colours on a terminal\n"
      "  TERM               dumb: no line that is drawn again\n"
      "\n"
      "Exit codes: 0 success, 1 failure, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.\n"
      "`intaglio COMMAND --help` describes a command.");
  Action action;
  add_generate(app, action);
  add_verify(app, action);
  add_inspect(app, action);
  add_bench(app, action);
  add_tune(app, action);
  add_map(app, action);
  add_quantize(app, action);
  add_eval(app, action);
  add_cache(app, action);
#if defined(INTAGLIO_HAS_SERVER)
  add_serve(app, action);
  add_worker(app, action);
#endif
  add_completion(app, action);
  add_manual(app, action);

  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const ArgumentCheck check = check_arguments(app, words);
  if (!check.errors.empty()) return fail_usage(*check.command, check.errors);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    write_text(Stream::kOut, app.version() + "\n");
    return kExitOk;
  } catch (const CLI::CallForHelp&) {
    write_text(Stream::kOut, app.help());
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return fail_usage(*check.command, {argument_error(error)});
  }
  if (const std::vector<intaglio::Error> errors = environment_errors(); !errors.empty()) {
    print_errors(errors);
    return kExitUsage;
  }
  // Before any work; finish_output tells of a stream that fails later.
  if (!stdout_is_open()) {
    print_error("cannot write standard output: it is closed");
    return kExitFailure;
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  open_missing_streams();
  install_signal_handlers();
  intaglio::set_log_callback(print_log);
  int exit_code = kExitFailure;
  try {
    exit_code = run(argc, argv);
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
  } catch (const std::exception& exception) {
    print_error(intaglio::escaped(exception.what()));
  }
  return finish_output(exit_code);
}
