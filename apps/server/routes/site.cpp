#include "server/routes/site.h"

#include "core/files.h"

namespace intaglio::server {

void add_all_routes(Site& site) {
  add_system_routes(site);
  add_page_routes(site);
  add_job_routes(site);
  add_openai_routes(site);
  add_a1111_routes(site);
}

HttpHandlers handlers_of(Site& site, decltype(HttpHandlers::done) log) {
  const auto done = [&site, log = std::move(log)](const Request& request, const std::string& route,
                                                  int status, uint64_t bytes, double seconds) {
    site.metrics.count(route, status, seconds);
    log(request, route, status, bytes, seconds);
  };
  return {.check = [&site](const Request& request,
                           std::string& route) { return site.router.check(request, route); },
          .takes_uploads =
              [&site](const Request& request) { return site.router.takes_uploads(request); },
          .handle = [&site](const std::shared_ptr<Exchange>& e) { site.router.handle(e); },
          .refuse = [](const Request& request, int status,
                       std::string_view message) { return refuse(request.path, status, message); },
          .finish = add_safe_headers,
          .done = done};
}

Response refuse_missing(const Site& site, std::string_view path, std::string_view message) {
  const std::string outage = site.jobs.outage();
  if (outage.empty()) return refuse(path, 404, message);
  Response response = refuse(path, 503, outage);
  response.set("Retry-After", "1");
  return response;
}

std::string base_address(const Request& request) {
  const bool secure = request.tls || request.header("x-forwarded-proto") == "https";
  return (secure ? "https://" : "http://") + std::string(request.header("host"));
}

std::string picture_bytes(const JobService& jobs, const std::string& id, int64_t index) {
  const std::filesystem::path path = jobs.picture(id, index);
  if (path.empty()) return "";
  return read_file(path).value_or("");
}

}  // namespace intaglio::server
