#include "server/metrics.h"

#include <gtest/gtest.h>

namespace intaglio::server {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, AreWhatWasCounted) {
  ServiceStats stats;
  stats.queued = 3;
  stats.running = 1;
  stats.ended["done"] = 5;
  stats.pictures["owner,name,int8,done"] = 4;
  stats.wait.counts.assign(std::size(ServiceStats::kBounds) + 1, 2);
  stats.wait.counts.back() = 7;
  stats.wait.sum = 1.5;
  stats.phases["denoise"].counts.back() = 1;
  stats.seconds_per_picture = 0.25;
  stats.resident_bytes = 1000;
  HttpMetrics http;
  http.count("/a\"b", 200, 0.5);
  http.count("/a\"b", 200, 0.25);
  http.count("/a\"b", 404, 0.25);
  const std::string text = metrics_text(stats, true, 9, http, "1.2.3");
  for (const char* line :
       {"intaglio_info{version=\"1.2.3\"} 1", "intaglio_ready 1",
        "intaglio_jobs{state=\"queued\"} 3", "intaglio_jobs{state=\"running\"} 1",
        "intaglio_jobs_ended_total{state=\"done\"} 5",
        "intaglio_pictures_total{model=\"owner,name\",precision=\"int8\",outcome=\"done\"} 4",
        "intaglio_wait_seconds_bucket{le=\"0.05\"} 2",
        "intaglio_wait_seconds_bucket{le=\"+Inf\"} 7", "intaglio_wait_seconds_sum 1.5",
        "intaglio_wait_seconds_count 7",
        "intaglio_phase_seconds_bucket{phase=\"denoise\",le=\"+Inf\"} 1",
        "intaglio_phase_seconds_count{phase=\"denoise\"} 1", "intaglio_seconds_per_picture 0.25",
        "intaglio_memory_bytes{kind=\"resident\"} 1000", "intaglio_http_connections 9",
        "intaglio_http_requests_total{route=\"/a\\\"b\",code=\"200\"} 2",
        "intaglio_http_requests_total{route=\"/a\\\"b\",code=\"404\"} 1",
        "intaglio_http_request_seconds_total{route=\"/a\\\"b\"} 1"}) {
    EXPECT_TRUE(has_line(text, line)) << line << "\nin\n" << text;
  }
}

}  // namespace
}  // namespace intaglio::server
