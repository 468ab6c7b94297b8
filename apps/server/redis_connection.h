// One connection to a Redis, as values and errors of this engine (on hiredis).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "server/redis_url.h"

struct redisContext;

namespace intaglio::server {

struct RedisValue {
  enum class Kind { kNil, kInteger, kText, kArray };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text = {};  // of a status, too
  std::vector<RedisValue> items = {};

  bool is_nil() const { return kind == Kind::kNil; }
};

using RedisWords = std::vector<std::string>;

// For one thread at a time. A process that uses it ignores SIGPIPE.
class RedisConnection {
 public:
  static constexpr std::chrono::milliseconds kConnect{2000}, kAnswer{5000};

  // kIo: it cannot be reached; kInvalidArgument: it refuses user, password or database.
  static Expected<std::unique_ptr<RedisConnection>> open(const RedisUrl& url);

  // kIo with what Redis says of it, or why the connection is lost: then broken() is true, and
  // nobody knows whether Redis did it.
  Expected<RedisValue> command(const RedisWords& words);
  // A script of lua/ by its name without ".lua", behind lua/common.lua.
  Expected<RedisValue> run(std::string_view script, const RedisWords& arguments);
  // Of a connection that subscribes: the next message, nullopt if there was none for so long.
  Expected<std::optional<RedisValue>> next(std::chrono::milliseconds patience);
  Status send(const RedisWords& words);  // whose answer next() gives

  bool broken() const { return broken_; }
  // Whether the other side has closed it since its last answer.
  bool stale() const;

 private:
  struct Free {
    void operator()(redisContext* context) const;
  };
  RedisConnection(RedisUrl url, redisContext* context) : url_(std::move(url)), context_(context) {}
  tl::unexpected<Error> lost();
  Status log_in();
  Expected<RedisValue> run_sha(const std::string& sha, const RedisWords& arguments);

  RedisUrl url_;
  std::unique_ptr<redisContext, Free> context_;
  bool broken_ = false;
  std::map<std::string, std::string, std::less<>> shas_;  // of scripts this Redis has been given
};

// Before the names of all keys and the channel.
inline constexpr std::string_view kRedisPrefix = "intaglio:";

}  // namespace intaglio::server
