// `intaglio serve`: draws what clients ask for over HTTP.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "core/files.h"
#include "interrupt.h"
#include "options.h"
#include "serve/engine_flags.h"
#include "serve/message_log.h"
#include "serve/serve_settings.h"
#include "server/clock.h"
#include "server/input_pictures.h"
#include "server/routes/site.h"
#include "server/tls_files.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using namespace intaglio::server;

constexpr std::string_view kPrefix = "INTAGLIO_SERVE";
constexpr int kPort = 7860;
constexpr int kWorkers = 4;
constexpr size_t kMaxWaiting = 2000;    // requests for a worker
constexpr size_t kMaxSecret = 1 << 20;  // bytes of a token's, a certificate's or a key's file

struct ServeFlags {
  std::string host = "127.0.0.1";
  int port = kPort;
  std::vector<std::string> allowed_hosts;
  EngineFlags engine;
  QueueFlags queue;
  std::optional<std::string> data_dir, token_file, tls_cert, tls_key, config, retention_size;
  int max_queue = 1000, max_queue_of_client = 200, retention_days = 0, stop_seconds = 30;
  std::string log_format = "text";
};

// Sockets and files: as many as the system lets this process have.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

size_t most_connections() {
  constexpr size_t kMost = 16'000, kOthers = 256;  // descriptors of files, databases, threads
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kMost;
  const size_t descriptors = limit.rlim_cur;
  return descriptors > 2 * kOthers ? std::min(kMost, descriptors - kOthers) : kOthers;
}

Expected<std::string> read_token(const ServeFlags& flags) {
  if (flags.token_file) {
    INTAGLIO_ASSIGN(const std::string text, read_file(*flags.token_file, kMaxSecret));
    return checked_token(text, "--token-file");
  }
  const char* const value = std::getenv("INTAGLIO_TOKEN");
  if (value == nullptr || *value == '\0') return std::string();
  return checked_token(value, "INTAGLIO_TOKEN");
}

Expected<AccessRules> access_rules(const ServeFlags& flags, bool loopback) {
  AccessRules rules;
  INTAGLIO_ASSIGN(rules.token, read_token(flags));
  if (!loopback && rules.token.empty()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--host: others than this machine reach {}, so a token is needed: give "
                      "--token-file or set INTAGLIO_TOKEN",
                      flags.host);
  }
  std::vector<std::string> more = flags.allowed_hosts;
  more.push_back(flags.host);
  if (loopback) rules.hosts = loopback_hosts(more);
  return rules;
}

Status read_tls(const ServeFlags& flags, HttpOptions& options) {
  if (flags.tls_cert.has_value() != flags.tls_key.has_value()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--tls-cert, --tls-key: expected both or neither");
  }
  if (!flags.tls_cert) return {};
  INTAGLIO_ASSIGN(options.tls_certificate, read_file(*flags.tls_cert, kMaxSecret));
  INTAGLIO_ASSIGN(options.tls_key, read_file(*flags.tls_key, kMaxSecret));
  return check_tls_files({.name = *flags.tls_cert, .pem = options.tls_certificate},
                         {.name = *flags.tls_key, .pem = options.tls_key}, system_clock().utc());
}

Expected<ServiceOptions> service_options(const ServeFlags& flags) {
  constexpr double kDay = 24 * 3600;
  ServiceOptions options;
  if (flags.data_dir) {
    options.folder = *flags.data_dir;
  } else {
    INTAGLIO_ASSIGN(options.folder, data_folder("serve"));
  }
  INTAGLIO_TRY(read_engine_flags(flags.engine, options));
  INTAGLIO_TRY(read_queue_flags(flags.queue, options));
  options.limits.queued = flags.max_queue;
  options.limits.queued_of_client = flags.max_queue_of_client;
  options.retention.seconds = flags.retention_days * kDay;
  if (flags.retention_size) {
    INTAGLIO_ASSIGN(options.retention.bytes,
                    parse_memory("--retention-size", *flags.retention_size));
  }
  return options;
}

std::string address(const ServeFlags& flags, uint16_t port) {
  const bool bracket = flags.host.find(':') != std::string::npos && !flags.host.starts_with('[');
  return fmt::format("{}://{}:{}/", flags.tls_cert ? "https" : "http",
                     bracket ? "[" + flags.host + "]" : flags.host, port);
}

Status serve(const ServeFlags& flags, MessageLog& log) {
  raise_descriptor_limit();
  HttpOptions http;
  INTAGLIO_TRY(read_tls(flags, http));
  INTAGLIO_ASSIGN(AccessRules rules, access_rules(flags, is_loopback_host(flags.host)));
  INTAGLIO_ASSIGN(const ServiceOptions options, service_options(flags));
  // Before the models, which may take long to open.
  INTAGLIO_ASSIGN(http.socket, listen_on(flags.host, static_cast<uint16_t>(flags.port)));
  http.limits.connections = most_connections();
  INTAGLIO_ASSIGN(const std::unique_ptr<JobService> jobs, JobService::open(options));
  WorkerPool pool(kWorkers, kMaxWaiting);
  Site site(*jobs, pool, std::move(rules), INTAGLIO_VERSION);
  add_all_routes(site);
  const auto done = [&log](const Request& request, const std::string&, int status, uint64_t bytes,
                           double seconds) { log.request(request, status, bytes, seconds); };
  INTAGLIO_ASSIGN(const std::unique_ptr<HttpServer> server,
                  HttpServer::start(http, handlers_of(site, done)));
  site.connections = [&server] { return server->connections(); };
  print(Stream::kOut, "{}\n", address(flags, server->port()));
  log.message("info", options.queue.empty()
                          ? fmt::format("draws on {}, keeps jobs and pictures in {}",
                                        jobs->device(), options.folder.string())
                          : fmt::format("has jobs drawn by workers of {}; {} now",
                                        shown_queue(options), jobs->device()));
  constexpr std::chrono::milliseconds kLook{50}, kLastAnswers{2000};
  while (!interrupted) std::this_thread::sleep_for(kLook);
  log.message("info", "stopping: finishes what is drawn; another signal ends at once");
  stop_decoding();
  jobs->stop(std::chrono::seconds(flags.stop_seconds));
  server->stop(kLastAnswers);
  pool.stop();
  log.message("info", "stopped");
  return {};
}

int run_serve(CLI::App& command, ServeFlags& flags) {
  const fs::path file =
      flags.config ? fs::path(*flags.config) : default_settings_file("serve.toml");
  if (const Status status = apply_settings(command, kPrefix, file); !status)
    return fail(status.error(), false);
  MessageLog log(flags.log_format);
  const Status status = serve(flags, log);
  if (!status) return fail(status.error(), false);
  return kExitOk;
}

void add_transport_flags(CLI::App& command, ServeFlags& flags) {
  command
      .add_option("--host", flags.host,
                  "Address to listen on; any but this machine's own needs a token")
      ->type_name("ADDRESS")
      ->capture_default_str();
  limit(command.add_option("--port", flags.port, "Port; 0 picks one that is free"), 0, 65535)
      ->capture_default_str();
  command
      .add_option("--allowed-host", flags.allowed_hosts,
                  "Name by which requests may call this server besides localhost, as of a proxy; "
                  "may be given again")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command
      .add_option("--token-file", flags.token_file,
                  "File with the token that requests must carry; without it the one in "
                  "INTAGLIO_TOKEN")
      ->type_name("FILE");
  command.add_option("--tls-cert", flags.tls_cert, "Certificate chain in PEM: serves HTTPS")
      ->type_name("FILE");
  command.add_option("--tls-key", flags.tls_key, "Its private key in PEM")->type_name("FILE");
  add_log_format_flag(command, flags.log_format);
}

void add_job_flags(CLI::App& command, ServeFlags& flags) {
  add_engine_flags(command, flags.engine);
  add_queue_flags(command, flags.queue);
  command
      .add_option("--data-dir", flags.data_dir,
                  "Folder of jobs and pictures; by default $XDG_DATA_HOME/intaglio/serve or "
                  "~/.local/share/intaglio/serve")
      ->type_name("DIR");
  limit(command.add_option("--max-queue", flags.max_queue, "Jobs that wait, in all"), 1, 1'000'000)
      ->capture_default_str();
  limit(command.add_option("--max-queue-of-client", flags.max_queue_of_client,
                           "Jobs of one client that wait"),
        1, 1'000'000)
      ->capture_default_str();
  limit(command.add_option("--retention-days", flags.retention_days,
                           "Forget ended jobs and their pictures after so many days; 0: never"),
        0, 36'500)
      ->capture_default_str();
  command
      .add_option("--retention-size", flags.retention_size,
                  "Forget the oldest ones where pictures take more; by default they all stay")
      ->type_name("SIZE");
  add_stop_seconds_flag(command, flags.stop_seconds);
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* command = app.add_subcommand("serve", "Draw what clients ask for over HTTP");
  add_transport_flags(*command, *flags);
  add_job_flags(*command, *flags);
  command
      ->add_option("--config", flags->config,
                   "File of settings, lines such as port = 8000; by default "
                   "$XDG_CONFIG_HOME/intaglio/serve.toml or ~/.config/intaglio/serve.toml")
      ->type_name("FILE");
  command->footer(
      "Every option but --config may also stand in that file, without its dashes, and in the\n"
      "environment: --max-queue as INTAGLIO_SERVE_MAX_QUEUE. The command line goes before the\n"
      "environment, the environment before the file.\n"
      "\n"
      "Examples:\n"
      "  intaglio serve\n"
      "  intaglio serve --port 8000 --model mini --lora-dir adapters/\n"
      "  intaglio serve --host 0.0.0.0 --token-file token --tls-cert cert.pem \\\n"
      "      --tls-key key.pem\n"
      "  intaglio serve --queue redis://queue.lan --results /mnt/pictures\n"
      "  curl -s http://127.0.0.1:7860/api/jobs --json '{\"prompt\": \"a red fox\"}'");
  command->callback([flags, command, &action] {
    action = [flags, command] { return run_serve(*command, *flags); };
  });
}

}  // namespace intaglio::cli
