// Connections to one Redis for many threads; what is lost is made again, ever more rarely while
// nothing answers.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/redis_connection.h"

namespace intaglio::server {

class RedisClient {
 public:
  // Connects, for up to `patience` seconds while it cannot be reached or still reads its file.
  // kInvalidArgument: it refuses user, password or database; kUnsupported: it is older than 6.2;
  // kIo. Warns of settings by which Redis would lose jobs.
  static Expected<std::shared_ptr<RedisClient>> open(const RedisUrl& url, double patience);

  // For any thread. kIo: Redis is away, or refuses it for now. Nothing is tried twice: where the
  // connection was lost on the way, Redis may have done it.
  Expected<RedisValue> run(std::string_view script, const RedisWords& arguments);
  Expected<RedisValue> command(const RedisWords& words);
  // One of the caller's own, as for a subscription.
  Expected<std::unique_ptr<RedisConnection>> connect();

  // Why the last try to reach it failed; empty: it did not.
  std::string outage() const;
  // For so many seconds it has been reached whenever it was tried; 0: it is away.
  double reached_for() const;
  const RedisUrl& url() const { return url_; }

 private:
  explicit RedisClient(RedisUrl url) : url_(std::move(url)) {}
  Status check();
  template <typename Use>
  Expected<RedisValue> with_connection(Use&& use);
  Expected<std::unique_ptr<RedisConnection>> take();
  void failed(const Error& error);

  const RedisUrl url_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<RedisConnection>> idle_;
  std::string outage_;
  double delay_ = 0, next_try_ = 0, reached_since_ = 0;  // seconds, of the steady clock
};

}  // namespace intaglio::server
