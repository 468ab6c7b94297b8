// Where a Redis is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio::server {

struct RedisUrl {
  std::string host;
  uint16_t port = 6379;
  int database = 0;
  std::string user = {}, password = {};  // empty: none is sent

  std::string shown() const;  // without user and password
};

// "redis://[[user]:password@]host[:port][/database]", %XX decoded in user and password. kUnsupported
// for rediss:// (hiredis 0.14 speaks no TLS), kInvalidArgument for what is no such address;
// messages begin with `flag` and never have the password.
Expected<RedisUrl> parse_redis_url(std::string_view flag, std::string_view text);

}  // namespace intaglio::server
