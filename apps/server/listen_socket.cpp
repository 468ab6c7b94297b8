#include "server/listen_socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace intaglio::server {
namespace {

constexpr int kBacklog = 1024;

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Expected<Addresses> addresses_of(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  // [::1] is how addresses of IPv6 stand in URLs.
  std::string name = host;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  if (const int error = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &list);
      error != 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--host: expected an address or a name of this machine, found \"{}\": {}",
                      host, ::gai_strerror(error));
  }
  return Addresses(list, &::freeaddrinfo);
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

uint16_t port_of(int descriptor) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
}

}  // namespace

Expected<ListenSocket> listen_on(const std::string& host, uint16_t port) {
  INTAGLIO_ASSIGN(const Addresses addresses, addresses_of(host, port));
  int error = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    const int descriptor =
        ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (descriptor < 0) {
      error = errno;
      continue;
    }
    const int on = 1;
    ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (::bind(descriptor, a->ai_addr, a->ai_addrlen) == 0 && ::listen(descriptor, kBacklog) == 0)
      return ListenSocket{descriptor, port_of(descriptor), is_loopback(a->ai_addr)};
    error = errno;
    ::close(descriptor);
  }
  if (error == EADDRINUSE) {
    return make_error(ErrorCode::kIo,
                      "--port: {} of {} is taken by another program; --port 0 picks a free one",
                      port, host);
  }
  if (error == EACCES) {
    return make_error(ErrorCode::kIo,
                      "--port: {} may not be used by this user, ports from 1024 on may", port);
  }
  return make_error(ErrorCode::kIo, "--host: cannot listen on {}, port {}: {}", host, port,
                    std::strerror(error));
}

bool is_loopback_host(const std::string& host) {
  const Expected<Addresses> addresses = addresses_of(host, 0);
  if (!addresses || *addresses == nullptr) return false;
  for (const addrinfo* a = addresses->get(); a != nullptr; a = a->ai_next)
    if (!is_loopback(a->ai_addr)) return false;
  return true;
}

}  // namespace intaglio::server
