#include "server/security.h"

#include <gnutls/crypto.h>

#include <algorithm>
#include <array>

namespace intaglio::server {
namespace {

constexpr size_t kMinToken = 16, kMaxToken = 4096;
constexpr std::string_view kScheme = "Bearer ";

bool equal_without_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x | 32) == (y | 32); });
}

}  // namespace

std::string host_name(std::string_view host) {
  const size_t bracket = host.starts_with('[') ? host.find(']') : std::string_view::npos;
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string name(host.substr(0, colon));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return name;
}

std::vector<std::string> loopback_hosts(const std::vector<std::string>& more) {
  std::vector<std::string> hosts{"localhost", "127.0.0.1", "[::1]"};
  for (const std::string& name : more) hosts.push_back(host_name(name));
  return hosts;
}

std::optional<AccessRefusal> check_host(const AccessRules& rules, const Request& request) {
  const std::string_view host = request.header("host");
  if (host.empty()) return AccessRefusal{400, "Host: missing"};
  if (rules.hosts.empty()) return std::nullopt;
  const std::string name = host_name(host);
  if (std::find(rules.hosts.begin(), rules.hosts.end(), name) != rules.hosts.end())
    return std::nullopt;
  return AccessRefusal{403, "Host: this server is not known by that name; --allowed-host adds one"};
}

std::optional<AccessRefusal> check_token(const AccessRules& rules, const Request& request) {
  if (rules.token.empty()) return std::nullopt;
  const std::string_view given = request.header("authorization");
  if (given.empty()) return AccessRefusal{401, "Authorization: expected Bearer and the token"};
  if (!equal_without_case(given.substr(0, kScheme.size()), kScheme) ||
      !equal_in_constant_time(given.substr(kScheme.size()), rules.token)) {
    return AccessRefusal{401, "Authorization: this is not the server's token"};
  }
  return std::nullopt;
}

std::optional<AccessRefusal> check_origin(const Request& request) {
  if (request.method == "GET" || request.method == "HEAD") return std::nullopt;
  const AccessRefusal refusal{403, "Origin: pages of other sites may not change anything here"};
  const std::string_view site = request.header("sec-fetch-site");
  if (site == "cross-site" || site == "same-site") return refusal;
  std::string_view origin = request.header("origin");
  if (origin.empty()) return std::nullopt;
  // The scheme is the proxy's where there is one; a site's name and port are what tells it.
  const size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos || origin.substr(scheme + 3) != request.header("host"))
    return refusal;
  return std::nullopt;
}

Expected<std::string> checked_token(std::string_view text, const std::string& origin) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
  const std::string_view token = text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
  const bool printable =
      std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (token.size() >= kMinToken && token.size() <= kMaxToken && printable)
    return std::string(token);
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected a token of {} to {} printable ASCII characters, found {}; "
                    "`openssl rand -hex 32` makes one",
                    origin, kMinToken, kMaxToken,
                    printable ? fmt::format("{}", token.size()) : "others");
}

std::string address_key(const AccessRules& rules, std::string_view path) {
  // HMAC-SHA-256 (RFC 2104), half of it.
  std::array<unsigned char, 32> code{};
  gnutls_hmac_fast(GNUTLS_MAC_SHA256, rules.token.data(), rules.token.size(), path.data(),
                   path.size(), code.data());
  std::string key;
  for (size_t i = 0; i < code.size() / 2; ++i) key += fmt::format("{:02x}", code[i]);
  return key;
}

}  // namespace intaglio::server
