// A client that sends what it is told, byte by byte, to a server of the same test.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace intaglio::server {

class HttpClient {
 public:
  explicit HttpClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  HttpClient(const HttpClient&) = delete;
  ~HttpClient() { close(); }

  bool connected() const { return connected_; }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Whatever comes until `end` has come, the other side closes, or nothing comes for long.
  std::string read_until(std::string_view end) {
    constexpr int kLong = 20'000;  // ms: a test that waits so long has failed
    while (text_.find(end) == std::string::npos) {
      pollfd poll{socket_, POLLIN, 0};
      if (::poll(&poll, 1, kLong) <= 0) break;
      char buffer[4096];
      const ssize_t got = ::recv(socket_, buffer, sizeof(buffer), 0);
      if (got <= 0) {
        closed_ = true;
        break;
      }
      text_.append(buffer, static_cast<size_t>(got));
    }
    return text_;
  }
  // All of it: the server closes behind its answer.
  std::string read_all() { return read_until("\x01never\x01"); }
  bool closed() const { return closed_; }
  void forget() { text_.clear(); }

 private:
  int socket_ = -1;
  bool connected_ = false, closed_ = false;
  std::string text_;
};

// "POST /path" with what belongs to it; "Connection: close".
inline std::string http_request(std::string_view line, std::string_view body = "",
                                std::string_view headers = "") {
  std::string text = std::string(line) + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  text += headers;
  if (!body.empty() || line.starts_with("POST"))
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + std::string(body);
}

// What the server says to one request, from its status line on.
inline std::string exchange_with(uint16_t port, std::string_view request) {
  HttpClient client(port);
  client.send(request);
  return client.read_all();
}

inline int status_of(std::string_view answer) {
  return answer.size() > 12 && answer.starts_with("HTTP/1.1 ")
             ? (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + (answer[11] - '0')
             : 0;
}

inline std::string body_of(std::string_view answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string_view::npos ? "" : std::string(answer.substr(end + 4));
}

}  // namespace intaglio::server
