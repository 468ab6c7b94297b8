// What happens to jobs of a queue in Redis, as it is published.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "server/redis_jobs.h"

namespace intaglio::server {

class RedisEvents {
 public:
  struct Handlers {
    // Events are heard from here on; those before it may have been missed. Called again each time
    // that the connection was lost; false: call it again soon.
    std::function<bool()> connected;
    std::function<void(RedisEvent)> heard;
  };
  // Handlers are called from one thread, until the destructor returns.
  RedisEvents(std::shared_ptr<RedisClient> client, Handlers handlers);
  ~RedisEvents();

 private:
  void run();
  // Until the connection is lost or the thread is to end.
  void listen(RedisConnection& connection);
  void hear(const RedisValue& message) const;

  std::shared_ptr<RedisClient> client_;
  const Handlers handlers_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace intaglio::server
