// What the server counts, as text for Prometheus (exposition format 0.0.4).
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "server/job_service.h"

namespace intaglio::server {

// Thread-safe.
class HttpMetrics {
 public:
  void count(const std::string& route, int status, double seconds);
  std::string text() const;

 private:
  struct Route {
    std::map<int, uint64_t> codes;
    double seconds = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Route> routes_;
};

std::string metrics_text(const ServiceStats& stats, bool ready, size_t connections,
                         const HttpMetrics& http, const std::string& version);

}  // namespace intaglio::server
