// What the routes share, and how each family of them joins the router.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "server/job_service.h"
#include "server/metrics.h"
#include "server/router.h"
#include "server/worker_pool.h"

namespace intaglio::server {

// Outlives the server; the job service and the pool outlive it.
struct Site {
  Site(JobService& service, WorkerPool& workers, AccessRules rules, std::string server_version)
      : jobs(service),
        pool(workers),
        router(std::move(rules), workers),
        version(std::move(server_version)) {}

  JobService& jobs;
  WorkerPool& pool;
  Router router;
  std::string version;
  HttpMetrics metrics;
  std::function<size_t()> connections = [] { return size_t{0}; };
};

// healthz, readyz, metrics, openapi.json.
void add_system_routes(Site& site);
// The page and its assets.
void add_page_routes(Site& site);
// /api/: info, jobs, pictures, events.
void add_job_routes(Site& site);
// /v1/: images and models as OpenAI's clients expect them.
void add_openai_routes(Site& site);
// /sdapi/v1/: as AUTOMATIC1111's clients expect it.
void add_a1111_routes(Site& site);

void add_all_routes(Site& site);
// The router and the metrics as the transport takes them; `log` besides.
HttpHandlers handlers_of(Site& site, decltype(HttpHandlers::done) log);

// 404 with `message` for what is not there; 503 where nobody can tell now whether it is.
Response refuse_missing(const Site& site, std::string_view path, std::string_view message);

// "http://127.0.0.1:7860", as the client named this server.
std::string base_address(const Request& request);
// The PNG of a picture; empty: it cannot be read.
std::string picture_bytes(const JobService& jobs, const std::string& id, int64_t index);

}  // namespace intaglio::server
