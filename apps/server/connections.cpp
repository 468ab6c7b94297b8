#include "server/connections.h"

#include <poll.h>
#include <sys/socket.h>

#include <string_view>
#include <utility>

namespace intaglio::server {
namespace {

// Written past the library, which sends nothing while a request is under way.
constexpr std::string_view kTooSlow =
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
    "Content-Length: 87\r\n\r\n"
    "{\"error\":{\"code\":\"too_slow\",\"message\":\"the request took too long to arrive in "
    "whole\"}}"
    "\n";

bool waits_for_client(Connection::State state) {
  return state == Connection::State::kFresh || state == Connection::State::kIdle;
}

}  // namespace

Connection* Connections::add(int socket, bool tls, const std::string& peer, bool local) {
  std::lock_guard lock(mutex_);
  if (all_.size() >= limits_.connections && !shut_oldest_idle(nullptr)) return nullptr;
  if (!local && of_peer_[peer] >= limits_.connections_of_peer && !shut_oldest_idle(&peer))
    return nullptr;
  auto connection = std::make_unique<Connection>();
  Connection* const key = connection.get();
  *key = {.socket = socket, .tls = tls, .local = local, .peer = peer};
  ++of_peer_[peer];
  all_.emplace(key, std::move(connection));
  return key;
}

void Connections::remove(Connection* connection) {
  std::lock_guard lock(mutex_);
  const auto found = all_.find(connection);
  if (found == all_.end()) return;
  if (const auto peer = of_peer_.find(connection->peer);
      peer != of_peer_.end() && --peer->second == 0) {
    of_peer_.erase(peer);
  }
  all_.erase(found);
}

void Connections::enter(Connection* connection, Connection::State state,
                        std::shared_ptr<Exchange> exchange, std::shared_ptr<EventStream> stream) {
  std::lock_guard lock(mutex_);
  if (!all_.contains(connection)) return;
  connection->state = state;
  connection->since = Connection::Clock::now();
  std::swap(connection->exchange, exchange);
  std::swap(connection->stream, stream);
}

size_t Connections::size() const {
  std::lock_guard lock(mutex_);
  return all_.size();
}

size_t Connections::busy() const {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const auto& [key, connection] : all_) count += waits_for_client(connection->state) ? 0 : 1;
  return count;
}

Connections::Due Connections::sweep(Connection::Clock::time_point now) {
  Due due;
  std::lock_guard lock(mutex_);
  std::vector<Connection*> watched;
  std::vector<pollfd> polls;
  for (const auto& [key, connection] : all_) {
    if (is_over(*connection, now)) {
      shut(*connection, connection->state == Connection::State::kFresh ||
                            connection->state == Connection::State::kBody);
    }
    if (connection->state == Connection::State::kStream) due.streams.push_back(connection->stream);
    // The library does not look at a connection that waits for its answer.
    if (connection->exchange || connection->stream) {
      watched.push_back(connection.get());
      polls.push_back({connection->socket, POLLRDHUP, 0});
    }
  }
  if (polls.empty() || ::poll(polls.data(), polls.size(), 0) <= 0) return due;
  for (size_t i = 0; i < polls.size(); ++i) {
    if ((polls[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) continue;
    if (watched[i]->exchange) due.gone.push_back(watched[i]->exchange);
    if (watched[i]->stream) due.gone_streams.push_back(watched[i]->stream);
  }
  return due;
}

std::vector<std::shared_ptr<EventStream>> Connections::streams() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<EventStream>> result;
  for (const auto& [key, connection] : all_)
    if (connection->stream) result.push_back(connection->stream);
  return result;
}

std::vector<std::shared_ptr<Exchange>> Connections::exchanges() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Exchange>> result;
  for (const auto& [key, connection] : all_)
    if (connection->exchange) result.push_back(connection->exchange);
  return result;
}

bool Connections::is_over(const Connection& connection, Connection::Clock::time_point now) const {
  if (connection.shut) return false;
  const auto age = now - connection.since;
  switch (connection.state) {
    case Connection::State::kFresh:
      return age > limits_.first_headers;
    case Connection::State::kIdle:
      return age > limits_.next_headers;
    case Connection::State::kBody:
      return age > limits_.body;
    case Connection::State::kAnswer:
      return age > limits_.answer;
    case Connection::State::kHandling:
    case Connection::State::kStream:
      return false;
  }
  return false;
}

void Connections::shut(Connection& connection, bool tell) {
  connection.shut = true;
  if (tell && !connection.tls) {
    // What does not fit at once is not worth waiting for.
    static_cast<void>(
        ::send(connection.socket, kTooSlow.data(), kTooSlow.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  ::shutdown(connection.socket, SHUT_RDWR);
}

bool Connections::shut_oldest_idle(const std::string* peer) {
  Connection* oldest = nullptr;
  for (const auto& [key, connection] : all_) {
    if (!waits_for_client(connection->state) || connection->shut) continue;
    if (peer != nullptr && connection->peer != *peer) continue;
    if (oldest == nullptr || connection->since < oldest->since) oldest = connection.get();
  }
  if (oldest == nullptr) return false;
  shut(*oldest, false);
  return true;
}

}  // namespace intaglio::server
