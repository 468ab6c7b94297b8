#include "serve/message_log.h"

#include <CLI/CLI.hpp>
#include <chrono>

#include "argument_values.h"
#include "console.h"
#include "core/log.h"

namespace intaglio::cli {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string_view level_name(LogLevel level) {
  if (level == LogLevel::kError) return "error";
  return level == LogLevel::kWarning ? "warning" : "info";
}

}  // namespace

MessageLog::MessageLog(const std::string& format)
    : format_(format == "json" ? LogFormat::kJson : LogFormat::kText) {
  set_log_callback([this](LogLevel level, std::string_view text) {
    if (level != LogLevel::kDebug) message(std::string(level_name(level)), std::string(text));
  });
}

MessageLog::~MessageLog() { set_log_callback(nullptr); }

void MessageLog::request(const server::Request& request, int status, uint64_t bytes,
                         double seconds) {
  write(request_line(format_, request, status, bytes, seconds, now()));
}

void MessageLog::message(const std::string& level, const std::string& text) {
  write(message_line(format_, level, text, now()));
}

void MessageLog::write(const std::string& line) {
  const std::lock_guard lock(mutex_);
  write_text(Stream::kErr, line);
}

void add_log_format_flag(CLI::App& command, std::string& format) {
  choose_from(
      command.add_option("--log-format", format, "Lines on stderr, one a request: text or json"),
      {"text", "json"})
      ->capture_default_str();
}

}  // namespace intaglio::cli
