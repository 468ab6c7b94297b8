// Who may ask: the token, the Host and the Origin of a request.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "server/http_message.h"

namespace intaglio::server {

struct AccessRules {
  std::string token;  // empty: none is asked for
  // Hosts that requests may name, without the port and in lower case; empty: any. Those of a
  // loopback address are its names alone: a page of another site whose name was made to point here
  // (DNS rebinding) names its own.
  std::vector<std::string> hosts;
};

struct AccessRefusal {
  int status = 403;
  std::string message;
};

// 400 without a Host, 403 for one that is not ours.
std::optional<AccessRefusal> check_host(const AccessRules& rules, const Request& request);
// 401 unless the request carries the token: "Authorization: Bearer TOKEN". A wrong one takes as
// long to refuse as one that is nearly right.
std::optional<AccessRefusal> check_token(const AccessRules& rules, const Request& request);
// 403 for a request that changes something and comes from a page of another site. Programs send no
// Origin; browsers send it with every such request.
std::optional<AccessRefusal> check_origin(const Request& request);

// "name:7860" -> "name", "[::1]:7860" -> "[::1]"; lower case.
std::string host_name(std::string_view host);

// Names of the loopback address, and `more`.
std::vector<std::string> loopback_hosts(const std::vector<std::string>& more);

// kInvalidArgument where it is too short or holds what no header can: 16 to 4096 printable ASCII
// characters. White space around it (a file's last line) is no part.
Expected<std::string> checked_token(std::string_view text, const std::string& origin);

// What vouches for a picture's address without the token, which no <img> can send: "?key=" of it.
std::string address_key(const AccessRules& rules, std::string_view path);

}  // namespace intaglio::server
