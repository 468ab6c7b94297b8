// What the server takes apart of a request's first line and headers: paths, escapes, hosts, tokens.
#include <string>
#include <string_view>

#include "core/utf8.h"
#include "fuzz/fuzz_check.h"
#include "server/http_message.h"
#include "server/security.h"

using namespace intaglio::server;

namespace {

void check_path(std::string_view text) {
  const auto parts = path_parts(text);
  if (!parts) return;
  for (const std::string& part : *parts) {
    FUZZ_CHECK(part != "." && part != "..");
    FUZZ_CHECK(part.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos);
    FUZZ_CHECK(intaglio::is_utf8(part));
  }
}

void check_access(const std::string& text) {
  const AccessRules open{.token = "", .hosts = loopback_hosts({})};
  const Request request{.method = "POST",
                        .path = "/",
                        .headers = {{"host", text}, {"authorization", text}, {"origin", text}}};
  const std::string name = host_name(text);
  const bool ours = name == "localhost" || name == "127.0.0.1" || name == "[::1]";
  FUZZ_CHECK(ours == !check_host(open, request));
  static_cast<void>(check_origin(request));
  const auto token = checked_token(text, "fuzz");
  if (!token) return;
  FUZZ_CHECK(token->size() >= 16 && token->size() <= 4096);
  const AccessRules closed{.token = *token, .hosts = {}};
  FUZZ_CHECK(check_token(closed, request));  // without "Bearer "
  FUZZ_CHECK(!check_token(
      closed, {.method = "GET", .path = "/", .headers = {{"authorization", "Bearer " + *token}}}));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_path(text);
  if (const auto decoded = percent_decoded(text)) {
    FUZZ_CHECK(decoded->size() <= size && decoded->find('\0') == std::string::npos);
    FUZZ_CHECK(intaglio::is_utf8(*decoded));
  }
  check_access(text);
  return 0;
}
