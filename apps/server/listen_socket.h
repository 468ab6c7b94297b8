// A socket that listens.
#pragma once

#include <cstdint>
#include <string>

#include "core/status.h"

namespace intaglio::server {

struct ListenSocket {
  int descriptor = -1;
  uint16_t port = 0;
  bool loopback = false;  // whether only this machine reaches it
};

// `port` 0: a free one. kInvalidArgument: `host` is no address or name of this machine; kIo: the
// address cannot be had, with the reason.
Expected<ListenSocket> listen_on(const std::string& host, uint16_t port);

// Whether every address of `host` is reached from this machine alone; false where it has none.
bool is_loopback_host(const std::string& host);

}  // namespace intaglio::server
