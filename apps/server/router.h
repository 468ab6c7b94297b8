// From a request to the route that answers it, past the rules of access.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_server.h"
#include "server/security.h"
#include "server/worker_pool.h"

namespace intaglio::server {

enum class Access { kOpen, kToken, kTokenOrKey };  // kTokenOrKey: or ?key= (address_key)
// Where a handler runs: on the socket's thread, which it must not keep, or on one of the pool.
enum class Where { kSocket, kPool };
// Whether its requests may bring pictures: their bodies may be larger.
enum class Uploads { kNone, kPictures };

using Parts = std::vector<std::string>;  // what stands in place of {...}, decoded
using RouteHandler = std::function<void(const std::shared_ptr<Exchange>&, const Parts&)>;

class Router {
 public:
  Router(AccessRules rules, WorkerPool& pool) : rules_(std::move(rules)), pool_(pool) {}

  // `pattern`: "/api/jobs/{id}". GET answers HEAD too.
  void add(std::string method, std::string_view pattern, Access access, Where where,
           RouteHandler handler, Uploads uploads = Uploads::kNone);

  // Of HttpHandlers: an answer refuses. `route` becomes the pattern.
  std::optional<Response> check(const Request& request, std::string& route) const;
  bool takes_uploads(const Request& request) const;
  void handle(const std::shared_ptr<Exchange>& exchange) const;

  const AccessRules& rules() const { return rules_; }
  // "GET /api/jobs/{id}" of every route, for tests of the description.
  std::vector<std::string> routes() const;

 private:
  struct Route {
    std::string method, pattern;
    Parts parts;
    Access access;
    Where where;
    RouteHandler handler;
    Uploads uploads;
  };
  const Route* find(const Request& request, const Parts& parts, std::string* allowed) const;

  const AccessRules rules_;
  WorkerPool& pool_;
  std::vector<Route> routes_;
};

// An error in the form that clients of the path expect: OpenAI's below /v1/, AUTOMATIC1111's below
// /sdapi/, ours elsewhere.
Response refuse(std::string_view path, int status, std::string_view message,
                std::string_view param = "", std::string_view code = "");

// Headers that every answer carries; those that a route has set stay.
void add_safe_headers(Response& response);

// How the API refuses.
struct Refusal;
Response refuse(std::string_view path, const Refusal& refusal);

}  // namespace intaglio::server
