#include "serve/request_log.h"

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/escape.h"

namespace intaglio::cli {
namespace {

constexpr size_t kShown = 200;  // bytes of a path

std::string time_text(double seconds) {
  const auto milliseconds = static_cast<int64_t>(std::floor(seconds * 1000));
  const std::time_t whole = milliseconds / 1000;
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     milliseconds % 1000);
}

std::string line(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string request_line(LogFormat format, const server::Request& request, int status,
                         uint64_t bytes, double seconds, double now) {
  const double ms = std::round(seconds * 1e4) / 10;
  const std::string path = request.path.substr(0, kShown);
  if (format == LogFormat::kText) {
    return message_of("{} {} {} {} {} {} B {} ms\n", time_text(now), request.peer, request.method,
                      path, status, bytes, ms);
  }
  return line({{"time", time_text(now)},
               {"peer", request.peer},
               {"method", request.method},
               {"path", path},
               {"status", status},
               {"bytes", bytes},
               {"ms", ms}});
}

std::string message_line(LogFormat format, const std::string& level, const std::string& message,
                         double now) {
  if (format == LogFormat::kText) return message_of("{} {} {}\n", time_text(now), level, message);
  return line({{"time", time_text(now)}, {"level", level}, {"message", message}});
}

}  // namespace intaglio::cli
