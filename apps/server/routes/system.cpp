// What operators and tools ask for.
#include <nlohmann/json.hpp>

#include "server/embedded.h"
#include "server/routes/site.h"

namespace intaglio::server {

void add_system_routes(Site& site) {
  Router& router = site.router;
  using ExchangePtr = std::shared_ptr<Exchange>;
  router.add("GET", "/healthz", Access::kOpen, Where::kSocket,
             [](const ExchangePtr& e, const Parts&) {
               e->respond(json_response(200, {{"status", "ok"}}));
             });
  router.add(
      "GET", "/readyz", Access::kOpen, Where::kPool, [&site](const ExchangePtr& e, const Parts&) {
        const bool ready = site.jobs.ready();
        e->respond(json_response(ready ? 200 : 503, {{"status", ready ? "ready" : "not ready"}}));
      });
  router.add(
      "GET", "/metrics", Access::kToken, Where::kPool, [&site](const ExchangePtr& e, const Parts&) {
        e->respond(text_response(200, "text/plain; version=0.0.4; charset=utf-8",
                                 metrics_text(site.jobs.stats(), site.jobs.ready(),
                                              site.connections(), site.metrics, site.version)));
      });
  router.add(
      "GET", "/openapi.json", Access::kOpen, Where::kSocket,
      [](const ExchangePtr& e, const Parts&) {
        e->respond(text_response(200, "application/json", std::string(api_files().front().text)));
      });
}

}  // namespace intaglio::server
