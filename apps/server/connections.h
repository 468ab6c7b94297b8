// The connections there are, and which of them have taken too long.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/http_server.h"

namespace intaglio::server {

struct Connection {
  enum class State { kFresh, kIdle, kBody, kHandling, kAnswer, kStream };
  using Clock = std::chrono::steady_clock;

  int socket = -1;
  bool tls = false, local = false;
  std::string peer;
  State state = State::kFresh;
  Clock::time_point since = Clock::now();
  std::shared_ptr<Exchange> exchange = {};   // kHandling
  std::shared_ptr<EventStream> stream = {};  // kStream
  bool shut = false;
};

// Thread-safe. A socket is shut down under the lock under which it leaves the table, so never one
// that has been closed and given to another.
class Connections {
 public:
  explicit Connections(const HttpLimits& limits) : limits_(limits) {}

  // Makes room first: the oldest idle one goes. nullptr where there is none: refuse the new one.
  Connection* add(int socket, bool tls, const std::string& peer, bool local);
  void remove(Connection* connection);
  void enter(Connection* connection, Connection::State state,
             std::shared_ptr<Exchange> exchange = nullptr,
             std::shared_ptr<EventStream> stream = nullptr);
  size_t size() const;
  // Requests that wait for their answer or are being answered, but streams.
  size_t busy() const;

  struct Due {
    std::vector<std::shared_ptr<Exchange>> gone;  // whose clients left
    std::vector<std::shared_ptr<EventStream>> gone_streams, streams;
  };
  // Shuts what is over time, 408 first where headers or a body were under way; finds clients that
  // left.
  Due sweep(Connection::Clock::time_point now);
  std::vector<std::shared_ptr<EventStream>> streams() const;
  std::vector<std::shared_ptr<Exchange>> exchanges() const;

 private:
  bool is_over(const Connection& connection, Connection::Clock::time_point now) const;
  static void shut(Connection& connection, bool tell);
  bool shut_oldest_idle(const std::string* peer);

  const HttpLimits limits_;
  mutable std::mutex mutex_;
  std::map<Connection*, std::unique_ptr<Connection>> all_;
  std::map<std::string, size_t> of_peer_;
};

}  // namespace intaglio::server
