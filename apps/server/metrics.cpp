#include "server/metrics.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace intaglio::server {
namespace {

std::string label(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string head(std::string_view name, std::string_view type, std::string_view help) {
  return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

// `labels`: "" or `phase="denoise",`.
std::string histogram(std::string_view name, std::string_view labels,
                      const ServiceStats::Histogram& histogram) {
  std::string text;
  uint64_t all = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    all = histogram.counts[i];
    const std::string bound =
        i < std::size(ServiceStats::kBounds) ? fmt::format("{}", ServiceStats::kBounds[i]) : "+Inf";
    text += fmt::format("{}_bucket{{{}le=\"{}\"}} {}\n", name, labels, bound, all);
  }
  std::string braces;
  if (!labels.empty()) braces = fmt::format("{{{}}}", labels.substr(0, labels.size() - 1));
  return text + fmt::format("{0}_sum{1} {2}\n{0}_count{1} {3}\n", name, braces, histogram.sum, all);
}

std::array<std::string, 3> three_parts(const std::string& text) {
  // Of a model's name the rest: the last two have no commas.
  const size_t last = text.rfind(',');
  const size_t middle = last == std::string::npos || last == 0 ? last : text.rfind(',', last - 1);
  if (last == std::string::npos || middle == std::string::npos) return {text, "", ""};
  return {text.substr(0, middle), text.substr(middle + 1, last - middle - 1),
          text.substr(last + 1)};
}

}  // namespace

void HttpMetrics::count(const std::string& route, int status, double seconds) {
  std::lock_guard lock(mutex_);
  Route& known = routes_[route];
  ++known.codes[status];
  known.seconds += seconds;
}

std::string HttpMetrics::text() const {
  std::lock_guard lock(mutex_);
  std::string text = head("intaglio_http_requests_total", "counter", "Requests by route and code.");
  for (const auto& [route, known] : routes_) {
    for (const auto& [code, count] : known.codes)
      text += fmt::format("intaglio_http_requests_total{{route=\"{}\",code=\"{}\"}} {}\n",
                          label(route), code, count);
  }
  text += head("intaglio_http_request_seconds_total", "counter", "Time of requests by route.");
  for (const auto& [route, known] : routes_)
    text += fmt::format("intaglio_http_request_seconds_total{{route=\"{}\"}} {}\n", label(route),
                        known.seconds);
  return text;
}

std::string metrics_text(const ServiceStats& stats, bool ready, size_t connections,
                         const HttpMetrics& http, const std::string& version) {
  std::string text = head("intaglio_info", "gauge", "The version that serves.");
  text += fmt::format("intaglio_info{{version=\"{}\"}} 1\n", label(version));
  text += head("intaglio_ready", "gauge", "Whether it can draw.");
  text += fmt::format("intaglio_ready {}\n", ready ? 1 : 0);
  text += head("intaglio_jobs", "gauge", "Jobs that wait and that are drawn.");
  text += fmt::format("intaglio_jobs{{state=\"queued\"}} {}\n", stats.queued);
  text += fmt::format("intaglio_jobs{{state=\"running\"}} {}\n", stats.running);
  text += head("intaglio_jobs_ended_total", "counter", "Jobs that ended, by how.");
  for (const auto& [state, count] : stats.ended)
    text += fmt::format("intaglio_jobs_ended_total{{state=\"{}\"}} {}\n", label(state), count);
  text += head("intaglio_pictures_total", "counter", "Pictures by model, precision and outcome.");
  for (const auto& [name, count] : stats.pictures) {
    const auto [model, precision, outcome] = three_parts(name);
    text +=
        fmt::format("intaglio_pictures_total{{model=\"{}\",precision=\"{}\",outcome=\"{}\"}} {}\n",
                    label(model), label(precision), label(outcome), count);
  }
  text += head("intaglio_wait_seconds", "histogram", "Time of a job in the queue.");
  text += histogram("intaglio_wait_seconds", "", stats.wait);
  text += head("intaglio_run_seconds", "histogram", "Time of a job from its start to its end.");
  text += histogram("intaglio_run_seconds", "", stats.run);
  text += head("intaglio_phase_seconds", "histogram", "Time of a picture in each phase.");
  for (const auto& [phase, times] : stats.phases)
    text += histogram("intaglio_phase_seconds", fmt::format("phase=\"{}\",", label(phase)), times);
  text += head("intaglio_seconds_per_picture", "gauge", "As measured lately; 0: none yet.");
  text += fmt::format("intaglio_seconds_per_picture {}\n", stats.seconds_per_picture);
  text += head("intaglio_memory_bytes", "gauge", "Memory of the process and on the device.");
  text += fmt::format("intaglio_memory_bytes{{kind=\"resident\"}} {}\n", stats.resident_bytes);
  text += fmt::format("intaglio_memory_bytes{{kind=\"device\"}} {}\n", stats.device_bytes);
  text += head("intaglio_http_connections", "gauge", "Connections that are open.");
  text += fmt::format("intaglio_http_connections {}\n", connections);
  return text + http.text();
}

}  // namespace intaglio::server
