#include "server/router.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "server/job_service.h"

namespace intaglio::server {
namespace {

constexpr std::string_view kOpenAi = "/v1/", kA1111 = "/sdapi/";

bool is_hole(std::string_view part) { return part.starts_with('{'); }

bool matches(const Parts& pattern, const Parts& parts) {
  return std::equal(
      pattern.begin(), pattern.end(), parts.begin(), parts.end(),
      [](const std::string& p, const std::string& part) { return is_hole(p) || p == part; });
}

std::string_view openai_type(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

Response refuse(std::string_view path, int status, std::string_view message, std::string_view param,
                std::string_view code) {
  if (code.empty()) code = status_code_name(status);
  Response response;
  if (path.starts_with(kOpenAi)) {
    if (status == 401) code = "invalid_api_key";
    nlohmann::ordered_json error{
        {"message", message}, {"type", openai_type(status)}, {"param", nullptr}, {"code", code}};
    if (!param.empty()) error["param"] = param;
    response = json_response(status, {{"error", std::move(error)}});
  } else if (path.starts_with(kA1111)) {
    response = json_response(
        status, {{"error", code}, {"detail", message}, {"body", ""}, {"errors", message}});
  } else {
    response = error_response(status, code, message, param);
  }
  if (status == 401) response.set("WWW-Authenticate", "Bearer");
  return response;
}

Response refuse(std::string_view path, const Refusal& refusal) {
  int status = 500;
  switch (refusal.reason) {
    case Refusal::Reason::kInvalid:
      status = 400;
      break;
    case Refusal::Reason::kNotFound:
      status = 404;
      break;
    case Refusal::Reason::kClientFull:
    case Refusal::Reason::kFull:
      status = 429;
      break;
    case Refusal::Reason::kStopping:
    case Refusal::Reason::kUnavailable:
      status = 503;
      break;
    case Refusal::Reason::kInternal:
      break;
  }
  Response response = refuse(path, status, refusal.message, refusal.parameter);
  if (status == 429 || status == 503) {
    const double seconds = std::clamp(std::ceil(refusal.retry_after_seconds), 1.0, 3600.0);
    response.set("Retry-After", std::to_string(static_cast<int>(seconds)));
  }
  return response;
}

void add_safe_headers(Response& response) {
  const std::pair<const char*, const char*> headers[] = {
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"X-Frame-Options", "DENY"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
      {"Cache-Control", "no-store"}};
  for (const auto& [name, value] : headers) {
    const bool present =
        std::any_of(response.headers.begin(), response.headers.end(),
                    [name = name](const auto& header) { return header.first == name; });
    if (!present) response.headers.emplace_back(name, value);
  }
}

void Router::add(std::string method, std::string_view pattern, Access access, Where where,
                 RouteHandler handler, Uploads uploads) {
  Route route{.method = std::move(method),
              .pattern = std::string(pattern),
              .parts = path_parts(pattern).value_or(Parts()),
              .access = access,
              .where = where,
              .handler = std::move(handler),
              .uploads = uploads};
  routes_.push_back(std::move(route));
}

const Router::Route* Router::find(const Request& request, const Parts& parts,
                                  std::string* allowed) const {
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  const Route* found = nullptr;
  for (const Route& route : routes_) {
    if (!matches(route.parts, parts)) continue;
    if (route.method == method && found == nullptr) found = &route;
    if (allowed != nullptr) *allowed += (allowed->empty() ? "" : ", ") + route.method;
  }
  return found;
}

std::optional<Response> Router::check(const Request& request, std::string& route) const {
  const std::string& path = request.path;
  if (const auto refusal = check_host(rules_, request))
    return refuse(path, refusal->status, refusal->message);
  const std::optional<Parts> parts = path_parts(path);
  if (!parts) return refuse(path, 404, "path: this is no address of this server");
  std::string allowed;
  const Route* const found = find(request, *parts, &allowed);
  if (found != nullptr) route = found->pattern;
  // Which addresses there are is in the description; nobody without the token learns more.
  const bool open = found != nullptr && found->access == Access::kOpen;
  const bool vouched = found != nullptr && found->access == Access::kTokenOrKey &&
                       !rules_.token.empty() &&
                       equal_in_constant_time(request.argument("key"), address_key(rules_, path));
  if (!open && !vouched) {
    if (const auto refusal = check_token(rules_, request))
      return refuse(path, refusal->status, refusal->message);
  }
  if (found == nullptr && allowed.empty())
    return refuse(path, 404, "path: this is no address of this server; /openapi.json lists all");
  if (found == nullptr) {
    Response response = refuse(path, 405, fmt::format("method: expected {}", allowed));
    response.set("Allow", allowed);
    return response;
  }
  if (const auto refusal = check_origin(request))
    return refuse(path, refusal->status, refusal->message);
  return std::nullopt;
}

bool Router::takes_uploads(const Request& request) const {
  const std::optional<Parts> parts = path_parts(request.path);
  const Route* const route = parts ? find(request, *parts, nullptr) : nullptr;
  return route != nullptr && route->uploads == Uploads::kPictures;
}

void Router::handle(const std::shared_ptr<Exchange>& exchange) const {
  const Request& request = exchange->request();
  const std::optional<Parts> parts = path_parts(request.path);
  const Route* const route = parts ? find(request, *parts, nullptr) : nullptr;
  if (route == nullptr) {
    exchange->respond(refuse(request.path, 404, "path: this is no address of this server"));
    return;
  }
  Parts values;
  for (size_t i = 0; i < parts->size(); ++i)
    if (is_hole(route->parts[i])) values.push_back((*parts)[i]);
  const auto run = [exchange, route, values = std::move(values)] {
    try {
      route->handler(exchange, values);
    } catch (const std::bad_alloc&) {
      exchange->respond(refuse(exchange->request().path, 503, "the server is out of memory"));
    }
  };
  if (route->where == Where::kSocket) {
    run();
  } else if (!pool_.post(run)) {
    Response response = refuse(request.path, 503, "the server is busy");
    response.set("Retry-After", "1");
    exchange->respond(std::move(response));
  }
}

std::vector<std::string> Router::routes() const {
  std::vector<std::string> names;
  for (const Route& route : routes_) names.push_back(route.method + " " + route.pattern);
  return names;
}

}  // namespace intaglio::server
