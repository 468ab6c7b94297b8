// The page: files that are part of the binary.
#include <array>

#include "server/embedded.h"
#include "server/routes/site.h"

namespace intaglio::server {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

std::string_view type_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kTypes{
      {{".html", "text/html; charset=utf-8"},
       {".js", "text/javascript; charset=utf-8"},
       {".css", "text/css; charset=utf-8"},
       {".svg", "image/svg+xml"},
       {".png", "image/png"},
       {".woff2", "font/woff2"},
       {".txt", "text/plain; charset=utf-8"},
       {".webmanifest", "application/manifest+json"}}};
  for (const auto& [end, type] : kTypes)
    if (name.ends_with(end)) return type;
  return "";  // not for clients
}

// A route a file: no name of a client's is looked up anywhere else.
void add_file(Router& router, const EmbeddedFile& file, const std::string& address) {
  const std::string type(type_of(file.name));
  const bool hashed = file.name.starts_with("assets/");
  router.add("GET", address, Access::kOpen, Where::kSocket,
             [type, hashed, file](const std::shared_ptr<Exchange>& exchange, const Parts&) {
               Response response = text_response(200, type, std::string(file.text));
               response.set("Content-Security-Policy", std::string(kPolicy));
               response.set("Cache-Control",
                            hashed ? "public, max-age=31536000, immutable" : "no-cache");
               exchange->respond(std::move(response));
             });
}

}  // namespace

void add_page_routes(Site& site) {
  for (const EmbeddedFile& file : page_files()) {
    if (type_of(file.name).empty()) continue;
    add_file(site.router, file, "/" + std::string(file.name));
    if (file.name == "index.html") add_file(site.router, file, "/");
  }
}

}  // namespace intaglio::server
